// Package lua is the HTTP filter envoy.filters.http.lua: scripts with the functions envoy_on_request and
// envoy_on_response, by the API of Envoy's filter, in Lua 5.1 (Envoy's LuaJIT is that with additions, of which the
// bit library is not there).
//
// A script has a few states of its own, as in Envoy each worker has one; a stream stays with one of them. Where the
// script waits (body, bodyChunks, trailers, httpCall) it is left until there is something to go on with; a state runs
// one stream's script at a time. A script that fails is logged and counted, and the message goes on as it is. One
// that never returns is not stopped.
//
// Of the standard libraries there are base, table, string, math, coroutine and os's clock, date, difftime, getenv and time:
// no files, no programs. Of Envoy's API there is no verifySignature, importPublicKey, ssl, filterState and
// setUpstreamOverrideHost.
package lua
