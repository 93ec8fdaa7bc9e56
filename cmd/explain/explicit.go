package explain

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/wire"
)

// explicit is the listener of a proxy in capture mode "proxy" that a request comes to.
// The program finds it by HTTP_PROXY: it asks for plain HTTP by the full URL, and for
// all else by CONNECT. A port that a Sidecar binds it calls directly.
func (r *request) explicit() (*listener.Listener, netip.AddrPort, error) {
	c := r.client
	r.sidecar()
	if a, err := netip.ParseAddr(r.to.host); err == nil && a.IsLoopback() {
		if l := listener.Listening(c.dry.Listeners, r.to.port); l != nil {
			r.say("name", nil, "%s is a port that a Sidecar opens beside the program", net.JoinHostPort(r.to.host, strconv.Itoa(int(r.to.port))))
			return l, netip.AddrPortFrom(a, r.to.port), nil
		}
	}
	if svc := r.named(c.view.Exported()); svc != nil {
		r.say("name", &svc.Meta, "%s is %s", r.to.host, svc.Host)
		r.reaches(svc)
	} else {
		r.hidden()
	}
	text, _ := c.proxy.HTTPProxy()
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	l := listener.Listening(c.dry.Listeners, uint16(port))
	if l == nil {
		r.end(Refused, 0, "the proxy has no listener for HTTP_PROXY")
		return nil, netip.AddrPort{}, nil
	}
	way := "asks for the full URL"
	if r.to.tls || r.to.bytes {
		r.inside = r.head
		r.head = &filter.Headers{Method: "CONNECT", Authority: net.JoinHostPort(r.to.host, strconv.Itoa(int(r.to.port)))}
		way = "asks for a connection by CONNECT, inside of which routes do not apply"
	}
	r.say("capture", nil, "mode proxy: the program finds the proxy by HTTP_PROXY, and %s", way)
	return l, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)), nil
}

// at is the workload behind an endpoint, and the port of it that objects speak of.
// Those in capture mode "proxy" share an address, and are told apart by where they listen.
func (m *mesh) at(a netip.AddrPort) (*model.Workload, uint16) {
	for _, w := range m.Snapshot.Workloads {
		if len(w.Inbound) == 0 || !slices.Contains(w.Addresses, a.Addr()) {
			continue
		}
		for port, in := range w.Inbound {
			if in.Listen == a.Port() {
				return w, port
			}
		}
	}
	return m.Index.WorkloadAt(a.Addr()), a.Port()
}

// entrance is the listener of a server's proxy that a connection comes to.
func (s *side) entrance(to netip.AddrPort) *listener.Listener {
	if _, explicit := s.proxy.HTTPProxy(); explicit {
		return listener.Listening(s.dry.Listeners, to.Port())
	}
	in := listener.Listening(s.dry.Listeners, wire.PortInbound)
	if in == nil {
		return nil
	}
	return listener.Redirected(s.dry.Listeners, in, to)
}
