// Package stream is the border between the data plane and its I/O host: a byte
// stream as codecs and network filters see it. They know no sockets, no
// goroutines and no TLS library; a host (today goroutines over net and
// crypto/tls, see proxy/transport) implements Conn.
//
// Every call of a Handler, and every call of a Conn by its owner, happens
// inside the Conn's Executor. Nothing here blocks.
package stream

import (
	"crypto/tls"
	"net/netip"

	"github.com/weftmesh/weft/base/serial"
)

// Handler is told what happens to a Conn.
type Handler interface {
	// OnData brings bytes from the peer. b belongs to the host and is valid
	// only during the call: what is not consumed must be copied.
	OnData(b []byte)
	// OnEnd: the peer will send no more (half close). Not called when OnClose
	// comes first.
	OnEnd()
	// OnDrain: output that had passed HighWater has fallen below LowWater.
	OnDrain()
	// OnClose is the last call, exactly once, whoever closed. err is nil after
	// the owner's own Close.
	OnClose(err error)
}

// Output water marks, in bytes: a producer should pause its source while
// Conn.Buffered is above HighWater, until OnDrain.
const (
	HighWater = 256 << 10
	LowWater  = 64 << 10
)

// Conn is a connected byte stream, plain or TLS.
type Conn interface {
	// Bind makes ex and h the connection's thread of execution and handler;
	// the first Bind starts reading. A later Bind, from inside the current
	// executor, moves the connection, e.g. when a pool lends it.
	Bind(ex *serial.Executor, h Handler)
	// Write appends to the output and never blocks; p may be reused after the
	// return. Nothing is sent before Flush.
	Write(p []byte)
	// Send is Write of both and Flush in one, without a copy of what the socket
	// takes at once. Either may be empty.
	Send(p, q []byte)
	// Flush sends what was written; what the socket does not take is sent later.
	Flush()
	// FlushSoon is Flush at the end of the events that the host has at hand, for
	// connections that many write to: their output shares a system call.
	FlushSoon()
	// Buffered is the number of bytes written and not yet taken by the socket.
	Buffered() int
	// SetReading stops or resumes OnData (back-pressure). On at first.
	SetReading(on bool)
	// CloseWrite half-closes after the output has been sent.
	CloseWrite()
	// Close sends what was flushed, as long as the peer goes on taking it and within a bound,
	// and closes.
	Close()
	// Abort closes at once, with a reset where the transport has one.
	Abort()

	LocalAddr() netip.AddrPort
	RemoteAddr() netip.AddrPort
	// TLS is nil for a plain connection. The handshake has been done.
	TLS() *tls.ConnectionState
}
