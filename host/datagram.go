package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/wire"
)

const (
	// datagramIdle is how long nothing may pass before what is known of a client is
	// forgotten: as long as Envoy's proxy for datagrams waits.
	datagramIdle = time.Minute
	// datagramClients is how many clients a port has at most; datagrams of others are lost.
	datagramClients = 1024
	// datagramSize is the largest datagram.
	datagramSize = 64 << 10
)

// listenDatagrams opens a port for datagrams on the host's loopback. Gateways of both
// engines are served: a socket that is handed to a proxy would be one more way to close
// and to hand over, for a port that few have.
func (h *Host) listenDatagrams(w outsideWant) (*outsidePort, error) {
	asked := loopback4(w.port)
	pc, note, err := loopbackDatagrams(asked)
	if err != nil {
		return nil, err
	}
	got := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	ctx, cancel := context.WithCancel(h.ctx)
	p := &outsidePort{cancel: cancel, target: w.target, url: wire.URL{URL: url(w.scheme, got), For: w.who, Note: note}}
	sockets := []*net.UDPConn{pc}
	// The same port of ::1, if it can be had; without it nothing is amiss.
	if six, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.IPv6Loopback(), got.Port()))); err == nil {
		sockets = append(sockets, six)
	}
	for _, s := range sockets {
		r := &datagramRelay{
			socket: s, idle: datagramIdle, clients: map[netip.AddrPort]net.Conn{},
			dial: func(ctx context.Context) (net.Conn, error) { return h.dialOne(ctx, p, "udp") },
		}
		p.wg.Go(func() {
			if err := r.run(ctx); err != nil {
				h.notify(Event{Kind: Problem, Message: w.who + " has lost its port on this machine", Err: err})
			}
		})
	}
	h.notify(Event{Kind: Listening, For: w.who, Message: note, Asked: asked, Got: got, Scheme: w.scheme})
	return p, nil
}

// loopbackDatagrams is handsocket.Loopback for datagrams.
func loopbackDatagrams(asked netip.AddrPort) (pc *net.UDPConn, note string, err error) {
	pc, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(asked))
	why := "it is taken"
	switch {
	case err == nil:
		return pc, "", nil
	case errors.Is(err, syscall.EACCES):
		why = "an ordinary user may not listen there"
	case !errors.Is(err, syscall.EADDRINUSE):
		return nil, "", err
	}
	other := int(asked.Port()) + wire.HandPortShift
	if other > 65535 {
		return nil, "", fmt.Errorf("port %d of the host: %s", asked.Port(), why)
	}
	if pc, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(asked.Addr(), uint16(other)))); err != nil {
		return nil, "", fmt.Errorf("port %d of the host: %s; port %d: %w", asked.Port(), why, other, err)
	}
	return pc, fmt.Sprintf("port %d of the host: %s, so it is port %d", asked.Port(), why, other), nil
}

// datagramRelay carries datagrams between the clients of a socket and a socket for each
// of them, so that whoever answers tells them apart.
type datagramRelay struct {
	socket *net.UDPConn
	dial   func(context.Context) (net.Conn, error)
	idle   time.Duration

	mu      sync.Mutex
	clients map[netip.AddrPort]net.Conn
	answers sync.WaitGroup
}

// run carries until ctx ends.
func (r *datagramRelay) run(ctx context.Context) error {
	defer r.answers.Wait()
	stop := context.AfterFunc(ctx, r.close)
	defer stop()
	b := make([]byte, datagramSize)
	for {
		n, from, err := r.socket.ReadFromUDPAddrPort(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			continue // of what was sent before: it concerns nobody here
		}
		if to := r.client(ctx, from); to != nil {
			_ = to.SetReadDeadline(time.Now().Add(r.idle))
			_, _ = to.Write(b[:n]) // a datagram may be lost
		}
	}
}

// client is the socket of a client, a new one for a new one; nil: there is none to be had.
func (r *datagramRelay) client(ctx context.Context, from netip.AddrPort) net.Conn {
	r.mu.Lock()
	to, full := r.clients[from], len(r.clients) >= datagramClients
	r.mu.Unlock()
	if to != nil || full {
		return to
	}
	dctx, cancel := context.WithTimeout(ctx, dialBound)
	defer cancel()
	to, err := r.dial(dctx)
	if err != nil {
		return nil // the client sees no answer, and asks again
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		to.Close()
		return nil
	}
	r.clients[from] = to
	r.answers.Go(func() { r.answer(from, to) })
	return to
}

// answer carries what comes back to a client, until nothing has passed for long.
func (r *datagramRelay) answer(client netip.AddrPort, from net.Conn) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.clients, client)
		from.Close()
	}()
	b := make([]byte, datagramSize)
	for {
		n, err := from.Read(b)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // nobody listens yet, or any more; the client asks again
		}
		if err != nil {
			return
		}
		_ = from.SetReadDeadline(time.Now().Add(r.idle))
		_, _ = r.socket.WriteToUDPAddrPort(b[:n], client)
	}
}

func (r *datagramRelay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.socket.Close()
	for _, c := range r.clients {
		c.Close()
	}
}
