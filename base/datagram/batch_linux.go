package datagram

import (
	"encoding/binary"
	"net/netip"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is the kernel's struct mmsghdr.
type message struct {
	hdr unix.Msghdr
	n   uint32
}

// controlSize has room for what is asked of a datagram: its destination
// (in6_pktinfo is the larger one) and the count of those that were lost.
const controlSize = 96

// control is aligned as the kernel's structures want it.
type control [controlSize / 8]uint64

// Batch are datagrams that were read.
type Batch struct {
	msgs    []message
	iovs    []unix.Iovec
	names   []unix.RawSockaddrInet6 // which have room for IPv4's
	control []control
	data    []byte
	size    int
	n       int
	err     error
	socket  *Socket
}

// NewBatch makes one for count datagrams of up to size bytes each.
func NewBatch(size, count int) *Batch {
	b := &Batch{
		msgs: make([]message, count), iovs: make([]unix.Iovec, count), names: make([]unix.RawSockaddrInet6, count),
		control: make([]control, count), data: make([]byte, size*count), size: size, n: count,
	}
	for i := range b.msgs {
		b.iovs[i].Base = &b.data[i*size]
		b.iovs[i].SetLen(size)
		h := &b.msgs[i].hdr
		h.Iov = &b.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&b.names[i]))
		h.Control = (*byte)(unsafe.Pointer(&b.control[i]))
	}
	return b
}

// prepare asks for what comes along with datagrams.
func (s *Socket) prepare() error {
	var serr error
	err := s.raw.Control(func(fd uintptr) {
		var domain int
		if domain, serr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN); serr != nil {
			return
		}
		s.v6 = domain == unix.AF_INET6
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) // for a statistic
		if !s.local.Addr().IsUnspecified() {
			return
		}
		s.info = true
		if s.v6 {
			serr = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
			return
		}
		serr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_PKTINFO, 1)
	})
	if err == nil {
		err = os.NewSyscallError("setsockopt", serr)
	}
	return err
}

// fill waits for the socket without a Batch.
func (r *Reader) fill() error { return r.s.raw.Read(r.recv) }

func (r *Reader) attempt(fd uintptr) bool {
	b := r.pool.get()
	if !b.receive(r.s, fd) {
		r.pool.Put(b)
		return false
	}
	r.got = b
	return true
}

// receive reads what is there; false: nothing is, and the socket is to be waited for.
func (b *Batch) receive(s *Socket, fd uintptr) bool {
	for i := range b.n { // those that the last call has changed
		h := &b.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
		h.Flags = 0
	}
	b.n, b.err, b.socket = 0, nil, s
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(len(b.msgs)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.n = int(n)
			return true
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		b.err = os.NewSyscallError("recvmmsg", errno)
		return true
	}
}

// Len is the number of datagrams.
func (b *Batch) Len() int { return b.n }

// Payload is what a datagram says, until the next Read.
func (b *Batch) Payload(i int) []byte {
	return b.data[i*b.size : i*b.size+min(int(b.msgs[i].n), b.size)]
}

// Truncated tells that a datagram was larger than the Batch has room for.
func (b *Batch) Truncated(i int) bool { return b.msgs[i].hdr.Flags&unix.MSG_TRUNC != 0 }

// Peer is who has sent a datagram.
func (b *Batch) Peer(i int) netip.AddrPort {
	n := &b.names[i]
	if n.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(n))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), swap(v4.Port))
	}
	a := netip.AddrFrom16(n.Addr).Unmap()
	if n.Scope_id != 0 && a.Is6() {
		a = a.WithZone(zone(n.Scope_id))
	}
	return netip.AddrPortFrom(a, swap(n.Port))
}

// Local is where a datagram was sent to, with the port of the socket.
func (b *Batch) Local(i int) netip.AddrPort {
	local := b.socket.local
	if !b.socket.info {
		return local
	}
	b.each(i, func(h *unix.Cmsghdr, body unsafe.Pointer) {
		switch {
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO:
			local = netip.AddrPortFrom(netip.AddrFrom4((*unix.Inet4Pktinfo)(body).Addr), local.Port())
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO:
			local = netip.AddrPortFrom(netip.AddrFrom16((*unix.Inet6Pktinfo)(body).Addr).Unmap(), local.Port())
		}
	})
	return local
}

// Lost is how many datagrams the socket has had no room for until the last
// one that was read, in all; known is false when the system does not say.
func (b *Batch) Lost() (n uint32, known bool) {
	if b.n == 0 {
		return 0, false
	}
	b.each(b.n-1, func(h *unix.Cmsghdr, body unsafe.Pointer) {
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL {
			n, known = *(*uint32)(body), true
		}
	})
	return n, known
}

// each calls f with the control messages of a datagram.
func (b *Batch) each(i int, f func(h *unix.Cmsghdr, body unsafe.Pointer)) {
	left := int(b.msgs[i].hdr.Controllen)
	for at := 0; at+unix.SizeofCmsghdr <= left; {
		h := (*unix.Cmsghdr)(unsafe.Add(unsafe.Pointer(&b.control[i]), at))
		if int(h.Len) < unix.SizeofCmsghdr || at+int(h.Len) > left {
			return
		}
		f(h, unsafe.Add(unsafe.Pointer(h), unix.CmsgLen(0)))
		at += unix.CmsgSpace(int(h.Len) - unix.CmsgLen(0))
	}
}

// Dest is where datagrams go: to a peer, from an address of this machine.
type Dest struct {
	name    unix.RawSockaddrInet6
	namelen uint32
	control control
	length  int
}

// Dest makes a Dest of a socket's own. local counts when the socket is bound to
// all addresses.
func (s *Socket) Dest(peer netip.AddrPort, local netip.Addr) *Dest {
	d := &Dest{}
	if !s.v6 {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&d.name))
		v4.Family, v4.Port, v4.Addr = unix.AF_INET, swap(peer.Port()), peer.Addr().As4()
		d.namelen = unix.SizeofSockaddrInet4
	} else {
		d.name.Family, d.name.Port, d.name.Addr = unix.AF_INET6, swap(peer.Port()), peer.Addr().As16()
		d.name.Scope_id = scope(peer.Addr().Zone())
		d.namelen = unix.SizeofSockaddrInet6
	}
	if !s.info || !local.IsValid() || local.IsUnspecified() {
		return d
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&d.control))
	body := unsafe.Add(unsafe.Pointer(h), unix.CmsgLen(0))
	size := unix.SizeofInet4Pktinfo
	if s.v6 {
		size = unix.SizeofInet6Pktinfo
		h.Level, h.Type = unix.SOL_IPV6, unix.IPV6_PKTINFO
		(*unix.Inet6Pktinfo)(body).Addr = local.As16()
	} else {
		h.Level, h.Type = unix.SOL_IP, unix.IP_PKTINFO
		(*unix.Inet4Pktinfo)(body).Spec_dst = local.As4()
	}
	h.SetLen(unix.CmsgLen(size))
	d.length = unix.CmsgSpace(size)
	return d
}

// Writer collects datagrams that are sent together.
type Writer struct {
	msgs []message
	iovs []unix.Iovec
	n    int
	at   int // how far Send is
	sent Sent
	fd   func(fd uintptr) // bound once
}

// NewWriter makes one for count datagrams, which grows when there are more.
func NewWriter(count int) *Writer {
	w := &Writer{msgs: make([]message, count), iovs: make([]unix.Iovec, count)}
	w.connect()
	w.fd = w.transmit
	return w
}

// grow makes room for more.
func (w *Writer) grow() {
	w.msgs = append(w.msgs, make([]message, max(len(w.msgs), 1))...)
	w.iovs = append(w.iovs, make([]unix.Iovec, max(len(w.iovs), 1))...)
	w.connect()
}

func (w *Writer) connect() {
	for i := range w.msgs {
		w.msgs[i].hdr.Iov = &w.iovs[i]
		w.msgs[i].hdr.SetIovlen(1)
	}
}

// Add adds a datagram, which must stay as it is until Send. to nil: the socket is connected.
func (w *Writer) Add(to *Dest, payload []byte) {
	if w.n == len(w.msgs) {
		w.grow()
	}
	m := &w.msgs[w.n]
	m.hdr.Name, m.hdr.Namelen, m.hdr.Control = nil, 0, nil
	m.hdr.SetControllen(0)
	if to != nil {
		m.hdr.Name, m.hdr.Namelen = (*byte)(unsafe.Pointer(&to.name)), to.namelen
		if to.length > 0 {
			m.hdr.Control = (*byte)(unsafe.Pointer(&to.control))
			m.hdr.SetControllen(to.length)
		}
	}
	w.iovs[w.n].Base = unsafe.SliceData(payload)
	w.iovs[w.n].SetLen(len(payload))
	w.n++
}

// Send sends what was added, without waiting, and forgets it.
func (w *Writer) Send(s *Socket) Sent {
	w.at, w.sent = 0, Sent{}
	if err := s.raw.Control(w.fd); err != nil {
		w.sent.Failed = w.n
		w.sent.Err = err
	}
	for i := range w.n {
		w.iovs[i].Base = nil // batches are not kept alive
	}
	w.n = 0
	return w.sent
}

func (w *Writer) transmit(fd uintptr) {
	for w.at < w.n {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.msgs[w.at])), uintptr(w.n-w.at), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 { // of the first; the others may do better
			w.sent.Failed++
			w.sent.Err = os.NewSyscallError("sendmmsg", errno)
			w.at++
			continue
		}
		for i := range int(n) {
			w.sent.Bytes += uint64(w.msgs[w.at+i].n)
		}
		w.sent.Datagrams += int(n)
		w.at += int(n)
	}
	runtime.KeepAlive(w)
}

// swap is a port in the byte order of the network, or back.
func swap(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}
