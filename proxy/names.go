package proxy

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	miekg "github.com/miekg/dns"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/dns"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// names is the mesh's DNS: the hosts that the control plane tells, and who
// answers for all the others.
type names struct {
	table    *dns.Names
	resolver *dns.Resolver // nil: the system's resolver, nothing is answered
	server   *dns.Server

	mu    sync.Mutex
	hosts map[string]dns.Host
	asker dns.Asker
	// old: hosts come from the process before; the first update replaces them all.
	old bool
}

func (r *runtime) newNames() *names {
	n := &names{hosts: map[string]dns.Host{}}
	if len(r.opt.DNS) == 0 {
		return n
	}
	n.table = dns.NewNames()
	n.resolver = &dns.Resolver{
		Names: n.table, Domain: r.opt.ClusterDomain, Upstream: r.forwarder(),
		Search: []string{r.boot.Metadata.Namespace + ".svc." + r.opt.ClusterDomain, "svc." + r.opt.ClusterDomain, r.opt.ClusterDomain},
	}
	if r.opt.HandSocket != "" {
		n.resolver.Fixed = map[string][]netip.Addr{wire.HandHostName: {wire.HandHostAddress()}}
	}
	n.server = &dns.Server{Resolver: n.resolver, Addresses: r.opt.DNS, Log: r.log.With("component", "dns")}
	r.listenDNS(n.server)
	return n
}

// forwarder asks the servers of the host.
func (r *runtime) forwarder() *dns.Forwarder {
	if r.opt.HandSocket != "" && len(r.opt.NameServers) == 0 {
		hand := wire.HandClient{Path: r.opt.HandSocket}
		return &dns.Forwarder{
			Servers: []string{wire.HandNameserver},
			Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return hand.DialNameserver(ctx, network)
			},
		}
	}
	servers := r.opt.NameServers
	if len(servers) == 0 {
		if c, err := miekg.ClientConfigFromFile("/etc/resolv.conf"); err == nil {
			for _, s := range c.Servers {
				servers = append(servers, net.JoinHostPort(s, c.Port))
			}
		}
	}
	return &dns.Forwarder{Servers: servers, Dial: (&net.Dialer{}).DialContext}
}

func (n *names) run(ctx context.Context) error {
	if n.server == nil {
		return nil
	}
	return n.server.Run(ctx)
}

// resolve is the resolver of DNS clusters.
func (n *names) resolve(ctx context.Context, name string, f cluster.Family) (cluster.Answer, error) {
	var a cluster.Answer
	var err error
	if n.resolver != nil {
		a.Addrs, a.TTL, err = n.resolver.Lookup(ctx, name)
	} else {
		a.Addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}
	for i := range a.Addrs {
		a.Addrs[i] = a.Addrs[i].Unmap()
	}
	a.Addrs = ofFamily(a.Addrs, f)
	return a, err
}

// ofFamily keeps the addresses that a family asks for, in its order.
func ofFamily(addrs []netip.Addr, f cluster.Family) []netip.Addr {
	v4 := slices.DeleteFunc(slices.Clone(addrs), netip.Addr.Is6)
	v6 := slices.DeleteFunc(slices.Clone(addrs), netip.Addr.Is4)
	switch f {
	case cluster.FamilyV4:
		return v4
	case cluster.FamilyV6:
		return v6
	case cluster.FamilyV4Preferred:
		if len(v4) > 0 {
			return v4
		}
		return v6
	case cluster.FamilyAuto:
		if len(v6) > 0 {
			return v6
		}
		return v4
	}
	return addrs
}

// follow subscribes to the names of the mesh.
func (n *names) follow(ads *xds.Client) {
	if n.table != nil {
		n.mu.Lock()
		n.asker = xds.Names{Client: ads, TypeURL: wire.TypeHost}
		if _, ask := n.hosts[dns.Marker]; ask {
			n.tellLocked(nil, nil) // what the process before had asked for
		}
		n.mu.Unlock()
		ads.SubscribeAll(wire.TypeHost)
	}
}

// handlers take the types that config does not know.
func (n *names) handlers(o *observe) map[string]xds.Handler {
	return map[string]xds.Handler{wire.TypeHost: n.apply, wire.TypeWorkload: o.apply, wire.TypeIstioWorkload: o.applyIstio}
}

func (n *names) apply(u xds.Update) (rejected []xds.Rejection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	set := map[string]dns.Host{}
	for _, res := range u.Set {
		m := &weftpb.Host{}
		h, err := decodeHost(res, m)
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: res.Name, Err: err})
			continue
		}
		set[res.Name] = h
	}
	_, ask := set[dns.Marker]
	if n.old && !ask {
		clear(n.hosts)
	}
	n.old = false
	maps.Copy(n.hosts, set)
	for _, name := range u.Removed {
		delete(n.hosts, name)
	}
	n.tellLocked(set, u.Removed)
	return rejected
}

func (n *names) tellLocked(set map[string]dns.Host, removed []string) {
	if n.table != nil {
		n.table.Take(n.asker, n.hosts, set, removed)
	}
}

// known are the hosts, for a successor.
func (n *names) known() map[string]dns.Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.hosts)
}

// restore takes the hosts of the process before, until the control plane has
// told its own.
func (n *names) restore(hosts map[string]dns.Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.hosts) > 0 || len(hosts) == 0 {
		return
	}
	n.hosts, n.old = hosts, true
	if _, ask := hosts[dns.Marker]; !ask {
		n.tellLocked(nil, nil)
	}
}

func decodeHost(res xds.Resource, m *weftpb.Host) (dns.Host, error) {
	if err := unmarshal(res, m); err != nil {
		return dns.Host{}, err
	}
	h := dns.Host{Name: m.Name, Canonical: m.Canonical}
	var err error
	if h.Addresses, err = parseAddrs(m.Addresses); err != nil {
		return h, fmt.Errorf("addresses%w", err)
	}
	for i, e := range m.Endpoints {
		a, err := parseAddrs(e.Addresses)
		if err != nil {
			return h, fmt.Errorf("endpoints[%d].addresses%w", i, err)
		}
		if h.Endpoints == nil {
			h.Endpoints = map[string][]netip.Addr{}
		}
		h.Endpoints[e.Hostname] = a
	}
	for i, p := range m.Ports {
		if p.Number > 65535 {
			return h, fmt.Errorf("ports[%d].number: %d is not a port", i, p.Number)
		}
		h.Ports = append(h.Ports, dns.Port{Name: p.Name, Number: uint16(p.Number), Protocol: p.Protocol})
	}
	return h, nil
}

func unmarshal(res xds.Resource, m proto.Message) error {
	if res.Body == nil {
		return fmt.Errorf("has no body")
	}
	return res.Body.UnmarshalTo(m)
}

func parseAddrs(list []string) ([]netip.Addr, error) {
	out := make([]netip.Addr, 0, len(list))
	for i, s := range list {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, a)
	}
	return out, nil
}
