//go:build !linux

package datagram

import "net/netip"

// Batch is one datagram, for want of a way to read several.
type Batch struct {
	data   []byte
	n      int
	len    int
	peer   netip.AddrPort
	err    error
	socket *Socket
}

// NewBatch makes one for datagrams of up to size bytes; count is for systems that
// read several.
func NewBatch(size, _ int) *Batch { return &Batch{data: make([]byte, size+1)} }

func (s *Socket) prepare() error {
	s.v6 = s.local.Addr().Is6()
	return nil
}

// fill waits with a Batch in hand.
func (r *Reader) fill() error {
	b := r.pool.get()
	b.socket, b.n = r.s, 1
	b.len, b.peer, b.err = r.s.conn.ReadFromUDPAddrPort(b.data)
	r.got = b
	return nil
}

func (r *Reader) attempt(uintptr) bool { return true }

// Len is the number of datagrams.
func (b *Batch) Len() int { return b.n }

// Payload is what a datagram says, until the next Read.
func (b *Batch) Payload(int) []byte { return b.data[:min(b.len, len(b.data)-1)] }

// Truncated tells that a datagram was larger than the Batch has room for.
func (b *Batch) Truncated(int) bool { return b.len == len(b.data) }

// Peer is who has sent a datagram.
func (b *Batch) Peer(int) netip.AddrPort {
	return netip.AddrPortFrom(b.peer.Addr().Unmap(), b.peer.Port())
}

// Local is where a datagram was sent to: as the socket is bound.
func (b *Batch) Local(int) netip.AddrPort { return b.socket.local }

// Lost is not known here.
func (b *Batch) Lost() (n uint32, known bool) { return 0, false }

// Dest is where datagrams go.
type Dest struct{ peer netip.AddrPort }

// Dest makes a Dest of a socket's own.
func (s *Socket) Dest(peer netip.AddrPort, _ netip.Addr) *Dest { return &Dest{peer} }

// Writer collects datagrams.
type Writer struct{ list []outgoing }

type outgoing struct {
	to      *Dest
	payload []byte
}

// NewWriter makes one for count datagrams.
func NewWriter(count int) *Writer { return &Writer{make([]outgoing, 0, count)} }

// Add adds a datagram. to nil: the socket is connected.
func (w *Writer) Add(to *Dest, payload []byte) { w.list = append(w.list, outgoing{to, payload}) }

// Send sends what was added and forgets it.
func (w *Writer) Send(s *Socket) (sent Sent) {
	for _, o := range w.list {
		var err error
		if o.to == nil {
			_, err = s.conn.Write(o.payload)
		} else {
			_, err = s.conn.WriteToUDPAddrPort(o.payload, o.to.peer)
		}
		if err != nil {
			sent.Failed++
			sent.Err = err
			continue
		}
		sent.Datagrams++
		sent.Bytes += uint64(len(o.payload))
	}
	w.list = w.list[:0]
	return sent
}
