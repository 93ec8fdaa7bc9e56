// Package datagram reads and writes UDP sockets in batches: several datagrams
// per system call (recvmmsg and sendmmsg on Linux, one at a time elsewhere).
//
// Nothing is allocated per datagram: a Batch is filled again and again, a Writer
// refers to what is in one. Who waits for a socket needs no Batch meanwhile, so
// that thousands of idle sockets share a few (Reader). Writing never waits: what
// the system does not take at once is lost, as datagrams are.
//
// The package knows nothing of what is sent. A Batch and a Writer are for one
// goroutine at a time; a Socket is for any.
package datagram

// MaxSize is the size of the largest datagram, in bytes.
const MaxSize = 65535
