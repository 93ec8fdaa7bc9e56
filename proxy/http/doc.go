// Package http is the HTTP connection manager: it takes a downstream
// connection over, speaks HTTP/1 or HTTP/2 on it, drives every request and its
// response through the filter chain and hands it to the router (proxy/http/router),
// which sends it to a cluster over the pools of proxy/http/pool.
//
// Everything about a downstream connection happens on its thread of execution
// (pool.Lane); nothing blocks, no goroutine is started. What is held for a
// slow peer is bounded: a producer is paused when its consumer cannot take more.
// The route table is loaded once per request, so that a new one never changes a
// request under way. In the steady state an HTTP/1 request without filters
// allocates nothing: streams and headers are used again.
//
// Observable behaviour (headers, response flags and details, names of
// statistics) is Envoy's. The package holds no codec, knows no sockets and
// parses no configuration: proxy/config fills a ManagerConfig.
package http
