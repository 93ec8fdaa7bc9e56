// Package h1 is HTTP/1.1 (and 1.0) as a codec without I/O: bytes in, events
// out, bytes appended. One Conn is one side of one connection, server or client.
//
// Framing is read strictly, so that no peer behind or before us can see other
// borders between messages than we do: a message with transfer-encoding and
// content-length, with two content-lengths or two hosts, with a folded field, a
// bare CR or LF, white space before a colon, a chunk size that is
// anything but hex digits, or any transfer coding but "chunked" is refused and the connection
// ends. Every line must end in CRLF. Requests are refused as Envoy refuses
// them, by status and by response code detail.
//
// Lines are parsed as they come complete; only an incomplete line is copied and
// kept. In the steady state a message allocates nothing.
//
// The package has no timers (header and idle timeouts are the owner's), writes no
// date and no server field, knows no routes, and does not pipeline on the client side.
package h1
