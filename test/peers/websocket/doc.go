// Package websocket plays a list of WebSocket cases, of the kind and order of
// Autobahn's test suite, through this proxy and through a stock Envoy: HTTP/1
// upgrades and HTTP/2 extended CONNECTs (RFC 8441) on either side. The server is a
// strict endpoint of RFC 6455 and 7692; so the list tests that a proxy brings every
// byte, in both directions, and every end. It does not test the server.
package websocket
