// Package behave checks what configuration comes to: each case is what a user writes,
// in Istio's API, the Gateway API or Ingress, with requests and the outcome that
// the documentation promises. One mesh is brought up for all cases: the real control
// plane, which follows a folder, and real proxies in network namespaces, with traffic
// redirected to them as in pods.
//
// Everything is there twice, in two worlds: what is Weft's proxy in one is Envoy in
// the other, and of each world's two clients one gets all its configuration at once, the
// other on demand. A case is written into both, so that each request is made by
// four kinds of clients, to servers and gateways of both engines.
//
// It does not measure, and does not look at xDS: see test/golden for that.
// README.md says how to write a case.
package behave
