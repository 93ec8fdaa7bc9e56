package explain

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/tcp"
	"github.com/weftmesh/weft/wire"
)

// Bytes is the method of what is no HTTP: the client speaks a protocol of its own.
const Bytes = "TCP"

// Query is a request that nobody has to send.
type Query struct {
	// Method, or Bytes, and the target: "reviews:9080/x", or a URL.
	Method, Target string
	// Headers are "name", "value".
	Headers [][2]string
	// From is the proxy that the client's connection comes to: its own sidecar, or
	// the gateway that it calls.
	From offline.Proxy
	// TLS: the client speaks TLS itself.
	TLS bool
}

// target is where a request goes.
type target struct {
	host string
	port uint16
	path string
	tls  bool
	// bytes: it is no HTTP.
	bytes bool
}

func (q *Query) target() (t target, err error) {
	s := q.Target
	scheme, rest, has := strings.Cut(s, "://")
	if !has {
		scheme, rest = "http", s
	}
	if scheme != "http" && scheme != "https" {
		return t, fmt.Errorf("%q: scheme %q: want http or https", s, scheme)
	}
	u, err := url.Parse(scheme + "://" + rest)
	if err != nil || u.Hostname() == "" {
		return t, fmt.Errorf("%q: want HOST:PORT/PATH, like reviews:9080/ratings", s)
	}
	t = target{host: strings.ToLower(u.Hostname()), path: u.RequestURI(), tls: q.TLS || scheme == "https", bytes: q.Method == Bytes, port: 80}
	if t.tls {
		t.port = 443
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return t, fmt.Errorf("%q: %q is not a port", s, p)
		}
		t.port = uint16(n)
	}
	return t, nil
}

// authority is what the client puts into its Host header.
func (t target) authority() string {
	host := t.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if !t.tls && t.port == 80 || t.tls && t.port == 443 {
		return host
	}
	return host + ":" + strconv.Itoa(int(t.port))
}

// request is a query on its way.
type request struct {
	*mesh
	Answer
	q      Query
	to     target
	client *side
	head   *filter.Headers
	info   *filter.Info
	// inside is the request that goes through a CONNECT, which head is; nil: head is it.
	inside *filter.Headers
}

// arriving is the request as servers get it.
func (r *request) arriving() *filter.Headers {
	if r.inside != nil {
		return r.inside
	}
	return r.head
}

// Request explains what a mesh does with a request.
func Request(ctx context.Context, m *offline.Mesh, q Query) (*Answer, error) {
	q.Method = strings.ToUpper(q.Method)
	r := &request{mesh: &mesh{m, ctx}, q: q}
	var err error
	if r.to, err = q.target(); err != nil {
		return nil, err
	}
	if r.client, err = r.side(q.From); err != nil {
		return nil, err
	}
	scheme := "http"
	if r.to.tls {
		scheme = "https"
	}
	r.head = &filter.Headers{Method: q.Method, Scheme: scheme, Authority: r.to.authority(), Path: r.to.path}
	for _, h := range q.Headers {
		name := strings.ToLower(h[0])
		if name == "host" {
			name = ":authority"
		}
		if strings.HasPrefix(name, ":") {
			r.head.Set(name, h[1])
		} else {
			r.head.Add(name, h[1])
		}
	}
	r.Answer.Request = r.head.Method + " " + scheme + "://" + r.to.authority() + r.to.path
	if r.to.bytes {
		r.Answer.Request = Bytes + " " + net.JoinHostPort(r.to.host, strconv.Itoa(int(r.to.port)))
	}
	r.From = q.From.Name()
	return &r.Answer, r.leave()
}

// leave follows the request through the client's proxy, and what it leads to.
func (r *request) leave() error {
	c := r.client
	l, dst, err := r.comesTo()
	if l == nil || err != nil {
		return err
	}
	facts := r.opened(dst)
	chain, err := l.Choose(facts)
	if err != nil {
		return err
	}
	if chain == nil {
		r.end(Refused, 0, "listener %s has no filter chain for the connection: it is closed", l.Name)
		return nil
	}
	r.gateways(l)
	r.patches(c, wire.TypeListener, l.Name)
	r.info = &filter.Info{Conn: &filter.ConnInfo{Local: dst, Remote: r.address(), Direct: r.address(), SNI: facts.SNI, Outbound: true}, Remote: r.address()}
	if facts.TLS {
		r.info.Conn.TLS = &tls.ConnectionState{}
	}
	connected(c.dry.Filters(chain), chain.Filters, r.info.Conn)
	switch t := chain.Terminal.(type) {
	case *http.Manager:
		if r.to.bytes && r.inside == nil {
			r.end(Refused, 400, "listener %s takes HTTP only", l.Name)
			return nil
		}
		r.say("listener", nil, "%s, as HTTP%s", l.Name, ended(chain))
		return r.http(t)
	case *tcp.Proxy:
		r.say("listener", nil, "%s, as bytes%s: HTTP routes do not apply", l.Name, ended(chain))
		return r.bytes(t)
	}
	return fmt.Errorf("listener %s ends in something that cannot be explained", l.Name)
}

// comesTo is the listener of the client's proxy that a request comes to, and where the
// client's connection is for; nil: it comes to none, which the answer says.
func (r *request) comesTo() (*listener.Listener, netip.AddrPort, error) {
	c := r.client
	if _, explicit := c.proxy.HTTPProxy(); explicit {
		return r.explicit()
	}
	dst := r.destination()
	if c.proxy.Gateway() {
		l := listener.Listening(c.dry.Listeners, r.to.port)
		if l == nil {
			r.end(Refused, 0, "the gateway does not listen on port %d: %s", r.to.port, r.openPorts())
		}
		return l, dst, nil
	}
	l := listener.Listening(c.dry.Listeners, wire.PortOutbound)
	if l == nil {
		return nil, dst, errors.New("the proxy has no listener for outbound traffic")
	}
	return listener.Redirected(c.dry.Listeners, l, dst), dst, nil
}

// opened is what a listener can know of the client's connection.
func (r *request) opened(dst netip.AddrPort) *listener.Facts {
	facts := &listener.Facts{Local: dst, Remote: r.address(), Direct: r.address(), ALPN: []string{"http/1.1"}}
	switch {
	case r.inside != nil:
	case r.to.tls:
		if _, err := netip.ParseAddr(r.to.host); err != nil {
			facts.SNI = r.to.host
		}
		facts.TLS, facts.ALPN = true, []string{"h2", "http/1.1"}
		if r.to.bytes {
			facts.ALPN = nil
		}
	case r.to.bytes:
		facts.ALPN = nil
	}
	return facts
}

func ended(c *listener.FilterChain) string {
	if c.TLS != nil {
		return ", TLS ends here"
	}
	return ""
}

// address is the client's: what the program, or somebody outside, calls from.
func (r *request) address() netip.AddrPort {
	if list := r.client.proxy.Addresses(); len(list) > 0 && !r.client.proxy.Gateway() {
		return netip.AddrPortFrom(list[0], 40000)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 7}), 40000)
}

func (r *request) openPorts() string {
	var ports []string
	for _, l := range r.client.dry.Listeners {
		for _, a := range l.Addresses {
			ports = append(ports, strconv.Itoa(int(a.Addr.Port())))
		}
	}
	if len(ports) == 0 {
		return "no Gateway selects it"
	}
	return "it listens on " + strings.Join(ports, ", ")
}

// gateways says which Gateways open a gateway's port.
func (r *request) gateways(l *listener.Listener) {
	for _, g := range r.client.view.Gateways {
		for i := range g.Servers {
			if g.Servers[i].Port == r.to.port {
				r.say("gateway", &g.Meta, "port %d for hosts %s, listener %s", r.to.port, strings.Join(g.Servers[i].Hosts, ", "), l.Name)
			}
		}
	}
}

// destination is the address that the program connects to, once it has looked the
// name up.
func (r *request) destination() netip.AddrPort {
	if r.client.proxy.Gateway() {
		addr := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if list := r.client.proxy.Addresses(); len(list) > 0 {
			addr = list[0]
		}
		return netip.AddrPortFrom(addr, r.to.port)
	}
	r.sidecar()
	if a, err := netip.ParseAddr(r.to.host); err == nil {
		r.say("name", nil, "%s is an address already", r.to.host)
		return netip.AddrPortFrom(a, r.to.port)
	}
	world := netip.AddrFrom4([4]byte{198, 51, 100, 1}) // what the world's DNS says: no address of the mesh
	svc := r.named(r.client.view.Exported())
	if svc == nil {
		r.hidden()
		return netip.AddrPortFrom(world, r.to.port)
	}
	var addr netip.Addr
	for _, p := range svc.VIPs {
		if p.IsSingleIP() && !addr.IsValid() {
			addr = p.Addr()
		}
	}
	if !addr.IsValid() {
		for _, in := range r.Index.Instances(svc) {
			if a, err := netip.ParseAddr(in.Endpoint.Address); err == nil {
				addr = a
				break
			}
		}
	}
	if !addr.IsValid() {
		addr = world
	}
	r.say("name", &svc.Meta, "%s is %s, at %s", r.to.host, svc.Host, addr)
	r.reaches(svc)
	return netip.AddrPortFrom(addr, r.to.port)
}

// reaches says what keeps the client from a service whose name it knows.
func (r *request) reaches(svc *model.Service) {
	if svc.Port(r.to.port) == nil {
		r.say("port", &svc.Meta, "the service has no port %d: it has %s", r.to.port, portsOf(svc))
	}
	if r.client.view.Service(svc.Host) == nil && r.client.view.Sidecar != nil {
		r.say("scope", &r.client.view.Sidecar.Meta, "does not import %s: the proxy does not know it", svc.Host)
	}
}

func portsOf(s *model.Service) string {
	var out []string
	for _, p := range s.Ports {
		out = append(out, strconv.Itoa(int(p.Port)))
	}
	return strings.Join(out, ", ")
}

// named is the service of some that the client's name means.
func (r *request) named(list []*model.Service) *model.Service {
	v := r.client.view
	names := []string{r.to.host}
	if domain := v.Proxy.Domain(v.Mesh.ClusterDomain); domain != "" {
		_, svc, _ := strings.Cut(domain, ".") // svc.cluster.local
		_, cluster, _ := strings.Cut(svc, ".")
		names = append(names, r.to.host+"."+domain, r.to.host+"."+svc, r.to.host+"."+cluster)
	}
	for _, n := range names {
		for _, s := range list {
			if strings.EqualFold(s.Host, n) {
				return s
			}
		}
	}
	for _, s := range list {
		if rest, wild := strings.CutPrefix(s.Host, "*"); wild && strings.HasSuffix(r.to.host, rest) {
			return s
		}
	}
	return nil
}

// hidden says why a name means nothing to the client.
func (r *request) hidden() {
	if s := r.named(r.Snapshot.Services); s != nil {
		r.say("name", &s.Meta, "%s is not exported to namespace %s: the client does not see it", s.Host, r.client.view.Proxy.Namespace())
		return
	}
	r.say("name", nil, "%s is no name of the mesh: the world's DNS answers", r.to.host)
}

// sidecar says which Sidecar narrows what the client sees.
func (r *request) sidecar() {
	v := r.client.view
	if v.Sidecar != nil {
		r.say("scope", &v.Sidecar.Meta, "%d of %d services are imported", len(v.Services), len(v.Exported()))
		return
	}
	r.say("scope", nil, "no Sidecar: the proxy sees all %d services that are exported to namespace %s", len(v.Services), v.Proxy.Namespace())
}

// bytes follows a connection that is not looked into.
func (r *request) bytes(p *tcp.Proxy) error {
	if err := r.lacking(p); err != nil {
		return err
	}
	list := p.Clusters(r.info.Conn)
	var total uint32
	for _, w := range list {
		total += w.Weight
	}
	for _, w := range list {
		share := 100.0
		if len(list) > 1 {
			share = 100 * float64(w.Weight) / float64(max(total, 1))
		}
		r.Clusters = append(r.Clusters, Share{w.Name, share})
	}
	r.Result = Forwarded
	return r.arrive()
}

// spiffe is the identity that the client's proxy shows.
func (r *request) spiffe() string {
	if w := r.client.proxy.Workload; w != nil {
		return w.SPIFFE()
	}
	p := r.client.proxy
	if p.Meta.ServiceAccount == "" {
		return ""
	}
	return "spiffe://" + r.client.view.Mesh.TrustDomain + "/ns/" + p.Namespace() + "/sa/" + p.Meta.ServiceAccount
}

// splitHostPort is net's, for addresses that are no sockets.
func splitHostPort(s string) (netip.AddrPort, bool) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddr(host)
	n, nerr := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), err == nil && nerr == nil
}
