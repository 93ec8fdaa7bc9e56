// Package transport moves bytes between the data plane and the operating
// system: it is the I/O host behind base/stream.
//
//   - Serve makes a stream.Conn of a socket: one reader goroutine per
//     connection, writes that never block, read buffers borrowed from a pool
//     only while there is something to read.
//   - ServerTLS and ClientTLS do handshakes with secrets that rotate under
//     running connections (SecretStore) and check SPIFFE names.
//   - Dialer makes upstream sockets: mark, source address, keepalive, and
//     Outside for connections that have to leave the network namespace.
//   - Join couples two connections, in the kernel (splice) where both are
//     plain sockets.
//
// It knows no listeners, clusters or filters, and no Envoy types.
package transport
