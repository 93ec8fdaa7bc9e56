// Package h2 is HTTP/2 as a codec without I/O: bytes in, events out, bytes
// appended. One Conn is one side of one connection, server or client. The
// preface and SETTINGS are in the Output of a new Conn already.
//
// HPACK is proxy/http/hpack; framing, the states of the streams, flow
// control and the checks of RFC 9113 are here. DATA is passed on as it comes, without
// waiting for a whole frame; other frames are kept until they are complete.
//
// An extended CONNECT (RFC 8441) looks like an upgrade of HTTP/1.1 to the owner, in both
// directions: method GET with Protocol set, answered by status 101.
//
// Floods are bounded as Envoy bounds them: empty frames, PRIORITY, WINDOW_UPDATE,
// resets of streams just begun, CONTINUATION, the size of a head. PING and SETTINGS make
// one small frame each; an owner that stops reading while its output is not taken bounds those.
//
// There is no server push, no priority, no padding on the way out, and no timer: when to Ping is
// the owner's business.
package h2
