package dns

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// Options of NewResolver.
type Options struct {
	Names *Names
	// Domain is the workload's, "default.svc.cluster.local": search domains and
	// the cluster's domain are made of it.
	Domain string
	// HandSocket, when set, leads to the host's name servers and fixes the
	// host's own name; otherwise nothing is passed on.
	HandSocket string
}

// NewResolver makes a resolver for one workload.
func NewResolver(o Options) *Resolver {
	r := &Resolver{Names: o.Names, Domain: o.Domain}
	search := o.Domain
	for search != "" {
		r.Search = append(r.Search, search)
		r.Domain = search
		_, rest, ok := strings.Cut(search, ".")
		// "default.svc.cluster.local", "svc.cluster.local", "cluster.local".
		if !ok || len(r.Search) == 3 {
			break
		}
		search = rest
	}
	if o.HandSocket != "" {
		hand := wire.HandClient{Path: o.HandSocket}
		r.Upstream = &Forwarder{Servers: []string{wire.HandNameserver}, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return hand.DialNameserver(ctx, network)
		}}
		r.Fixed = map[string][]netip.Addr{wire.HandHostName: {wire.HandHostAddress()}}
	}
	return r
}

// Complete returns the full name of a host of the mesh that a program may call
// by a shorter one. It asks nobody: on demand it knows what programs have asked for.
func (r *Resolver) Complete(name string) (string, bool) {
	for i, n := range r.candidates(name) {
		if h := r.Names.known(n); h != nil && (i == 0 || !strings.HasPrefix(h.Name, "*.")) {
			return h.Name, true
		}
	}
	return "", false
}

// Take takes what the control plane says of hosts: those that are set, by the name of
// their resource, and those that there are not. all are the hosts that the table is
// made of, unless names are to be asked for.
func (n *Names) Take(a Asker, all, set map[string]Host, absent []string) {
	if _, ask := all[Marker]; !ask {
		list := make([]Host, 0, len(all))
		for _, h := range all {
			list = append(list, h)
		}
		n.Set(list)
		return
	}
	known := map[string]*Host{}
	for name, h := range all {
		if name != Marker {
			known[name] = &h
		}
	}
	n.Ask(a, known)
	for name, h := range set {
		n.Told(name, &h)
	}
	for _, name := range absent {
		n.Told(name, nil)
	}
}

// FromWire makes a Host of the control plane's message.
func FromWire(h *weftpb.Host) Host {
	out := Host{Name: h.GetName(), Canonical: h.GetCanonical(), Addresses: parse(h.GetAddresses())}
	for _, e := range h.GetEndpoints() {
		if out.Endpoints == nil {
			out.Endpoints = map[string][]netip.Addr{}
		}
		out.Endpoints[e.GetHostname()] = parse(e.GetAddresses())
	}
	for _, p := range h.GetPorts() {
		out.Ports = append(out.Ports, Port{Name: p.GetName(), Number: uint16(p.GetNumber()), Protocol: p.GetProtocol()})
	}
	return out
}

func parse(list []string) []netip.Addr {
	out := make([]netip.Addr, 0, len(list))
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// Metrics shows a resolver's counters by the names of Istio's agent.
type Metrics struct{ Resolver *Resolver }

var (
	requestsDesc  = prometheus.NewDesc("dns_requests_total", "DNS questions.", nil, nil)
	forwardedDesc = prometheus.NewDesc("dns_upstream_requests_total", "DNS questions passed on.", nil, nil)
	failedDesc    = prometheus.NewDesc("dns_upstream_failures_total", "DNS questions that nobody answered.", nil, nil)
)

// Describe implements prometheus.Collector.
func (Metrics) Describe(out chan<- *prometheus.Desc) {
	out <- requestsDesc
	out <- forwardedDesc
	out <- failedDesc
}

// Collect implements prometheus.Collector.
func (m Metrics) Collect(out chan<- prometheus.Metric) {
	requests, forwarded, failed := m.Resolver.Stats()
	for d, v := range map[*prometheus.Desc]uint64{requestsDesc: requests, forwardedDesc: forwarded, failedDesc: failed} {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
}
