package host

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"sync"

	"github.com/weftmesh/weft/host/handsocket"
	"github.com/weftmesh/weft/host/hub"
	"github.com/weftmesh/weft/wire"
)

// outsidePort is a port of the host's loopback, of both families, that leads to
// workloads.
type outsidePort struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	url    wire.URL

	mu     sync.Mutex
	target func() []netip.AddrPort // of ready workloads
	next   int
}

func (p *outsidePort) close() {
	p.cancel()
	p.wg.Wait()
}

// outsideWant is a port that should be there.
type outsideWant struct {
	who    string // "Service default/web"
	port   uint16
	scheme string
	target func() []netip.AddrPort
}

// openOutside opens and closes host ports so that there are those wanted.
func (h *Host) openOutside(wants []outsideWant) {
	keep := map[string]bool{}
	for _, w := range wants {
		key := fmt.Sprintf("%s:%d", w.who, w.port)
		if w.scheme == SchemeUDP {
			key += "/udp"
		}
		keep[key] = true
		h.mu.Lock()
		p, closed := h.outside[key], h.closed
		h.mu.Unlock()
		if closed {
			return
		}
		if p != nil {
			p.mu.Lock()
			p.target = w.target
			p.mu.Unlock()
			continue
		}
		listen := h.listenOutside
		if w.scheme == SchemeUDP {
			listen = h.listenDatagrams
		}
		p, err := listen(w)
		if err != nil {
			h.notify(Event{Kind: Problem, Message: fmt.Sprintf("%s has no port on this machine", w.who), Err: err})
			continue
		}
		h.mu.Lock()
		h.outside[key] = p
		h.mu.Unlock()
	}
	h.mu.Lock()
	var gone []*outsidePort
	for key, p := range h.outside {
		if !keep[key] {
			gone = append(gone, p)
			delete(h.outside, key)
		}
	}
	h.mu.Unlock()
	for _, p := range gone {
		p.close()
	}
}

func (h *Host) listenOutside(w outsideWant) (*outsidePort, error) {
	asked := loopback4(w.port)
	ln, note, err := handsocket.Loopback(asked, func(netip.AddrPort) bool { return false })
	if err != nil {
		return nil, err
	}
	got := ln.Addr().(*net.TCPAddr).AddrPort()
	ctx, cancel := context.WithCancel(h.ctx)
	p := &outsidePort{cancel: cancel, target: w.target, url: wire.URL{URL: url(w.scheme, got), For: w.who, Note: note}}
	listeners := []net.Listener{ln}
	// The same port of ::1, if it can be had; without it nothing is amiss.
	if l6, err := net.Listen("tcp", netip.AddrPortFrom(netip.IPv6Loopback(), got.Port()).String()); err == nil {
		listeners = append(listeners, l6)
	}
	for _, l := range listeners {
		p.wg.Go(func() {
			err := relay(ctx, l, func(ctx context.Context) (net.Conn, error) { return h.dialOne(ctx, p, "tcp") })
			if err != nil {
				h.notify(Event{Kind: Problem, Message: w.who + " has lost its port on this machine", Err: err})
			}
		})
	}
	h.notify(Event{Kind: Listening, For: w.who, Message: note, Asked: asked, Got: got, Scheme: w.scheme})
	return p, nil
}

func url(scheme string, at netip.AddrPort) string {
	if scheme == "http" || scheme == "https" || scheme == SchemeUDP {
		return scheme + "://" + at.String()
	}
	return "tcp://" + at.String()
}

var errNobody = errors.New("no workload is ready")

// dialOne connects to one ready workload after the other, until one answers; proto is
// "tcp" or "udp", where nothing has to answer.
func (h *Host) dialOne(ctx context.Context, p *outsidePort, proto string) (net.Conn, error) {
	p.mu.Lock()
	targets := p.target()
	first := p.next
	p.next++
	p.mu.Unlock()
	err := errNobody
	for i := range targets {
		var nc net.Conn
		if nc, err = h.dialMesh(ctx, targets[(first+i)%len(targets)], proto); err == nil {
			return nc, nil
		}
	}
	return nil, err
}

// dialMesh connects to an address of the mesh, as somebody without a sidecar.
func (h *Host) dialMesh(ctx context.Context, to netip.AddrPort, proto string) (net.Conn, error) {
	if h.hub != nil {
		return h.hub.Dial(ctx, hub.Socket{Proto: proto, To: to})
	}
	var d net.Dialer
	return d.DialContext(ctx, proto, to.String())
}

// nodePort is the port of a service that asks for one without saying which:
// always the same, in Kubernetes' range.
func nodePort(service string, port uint16) uint16 {
	f := fnv.New32a()
	fmt.Fprintf(f, "%s:%d", service, port)
	return uint16(30000 + f.Sum32()%2768)
}

// NodePort returns the host port of a service's port that asks for any: the
// same each time, in Kubernetes' range 30000 to 32767.
func NodePort(namespace, service string, port uint16) uint16 {
	return nodePort(namespace+"/"+service, port)
}

// listened is told of sockets that were handed to gateways.
func (h *Host) listened(l handsocket.Listening) {
	h.mu.Lock()
	known := false
	for _, o := range h.heard {
		known = known || o == l
	}
	if !known {
		h.heard = append(h.heard, l)
	}
	h.mu.Unlock()
	h.notify(Event{Kind: Listening, Message: l.Note, Asked: l.Asked, Got: l.Got})
}
