// Package wasm is the HTTP filter envoy.filters.http.wasm: plug-ins that are WebAssembly modules, by the ABI of
// proxy-wasm, versions 0.1.0 to 0.2.1 (github.com/proxy-wasm/spec).
//
// A plug-in has a few virtual machines of its own, each with its own memory, like Envoy's worker threads; a request
// stays with one of them. A machine does one thing at a time, and calls from the stream's own thread of execution:
// it is to be quick, as any filter. What traps is replaced by a new machine, and its requests are answered with 503,
// or go on without it (fail_open). A module that never returns is not stopped.
//
// Carried out are headers, bodies, trailers, local replies, properties, HTTP calls, shared data and queues, metrics,
// timers, logs, and WASI as far as such modules need it (clocks, random numbers, standard output as log, environment).
// gRPC calls, network filters and foreign functions are not: they answer UNIMPLEMENTED.
package wasm
