package datagram

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Socket is a UDP socket.
type Socket struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
	// v6: addresses of the socket are IPv6's, those of IPv4 mapped ones.
	v6 bool
	// info: datagrams come with the address that they were sent to, for the
	// socket is bound to all.
	info bool
}

// New takes a socket over. One that is bound to all addresses tells to which a
// datagram was sent.
func New(c *net.UDPConn) (*Socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &Socket{conn: c, raw: raw}
	if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
		s.local = a.AddrPort()
	}
	return s, s.prepare()
}

// Conn is the socket itself, for what has nothing to do with reading or writing.
func (s *Socket) Conn() *net.UDPConn { return s.conn }

// Local is the address that the socket is bound to.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Interrupt makes Reads fail with os.ErrDeadlineExceeded, the one that waits and
// all others.
func (s *Socket) Interrupt() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) }

// Close closes the socket; Reads fail with net.ErrClosed.
func (s *Socket) Close() error { return s.conn.Close() }

// Pool has Batches of one kind.
type Pool struct {
	size, count int
	p           sync.Pool
}

// NewPool makes a Pool of Batches of count datagrams of up to size bytes.
func NewPool(size, count int) *Pool { return &Pool{size: size, count: count} }

func (p *Pool) get() *Batch {
	if b, ok := p.p.Get().(*Batch); ok {
		return b
	}
	return NewBatch(p.size, p.count)
}

// Put gives a Batch back.
func (p *Pool) Put(b *Batch) { p.p.Put(b) }

// Reader waits for a socket without a Batch.
type Reader struct {
	s    *Socket
	pool *Pool
	got  *Batch
	recv func(fd uintptr) bool // bound once; how a system with batches tries
}

// NewReader makes a Reader.
func NewReader(s *Socket, pool *Pool) *Reader {
	r := &Reader{s: s, pool: pool}
	r.recv = r.attempt
	return r
}

// Read waits for datagrams and returns them in a Batch of the Pool, which is the
// caller's to put back. The error is one of the socket's (an ICMP message about
// what was sent is one, after which reading may go on), net.ErrClosed or
// os.ErrDeadlineExceeded.
func (r *Reader) Read() (*Batch, error) {
	r.got = nil
	if err := r.fill(); err != nil {
		return nil, err
	}
	b := r.got
	r.got = nil
	if b.err != nil {
		err := b.err
		r.pool.Put(b)
		return nil, err
	}
	return b, nil
}
