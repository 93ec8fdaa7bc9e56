package explain

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/cmd/xdstext"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/wire"
)

// arrive follows the request to the endpoints of its clusters, and into them.
func (r *request) arrive() error {
	servers := map[string]bool{}
	for _, share := range r.Clusters {
		c := r.client.dry.Clusters[share.Cluster]
		if c == nil {
			r.say("cluster", nil, "%s is not there: its share of the requests is answered with 503", share.Cluster)
			continue
		}
		r.cluster(share, c)
		before := len(r.Endpoints)
		r.endpoints(c)
		for i := before; i < len(r.Endpoints); i++ {
			if err := r.enter(&r.Endpoints[i], c, servers); err != nil {
				return err
			}
		}
	}
	way := model.SidecarOutbound
	if r.client.proxy.Gateway() {
		way = model.GatewayContext
	}
	r.plugins("client", r.client, way)
	r.telemetry("client", r.client, model.ClientSide)
	r.conclude()
	return nil
}

// conclude ends with the server's word when it is the same everywhere.
func (r *request) conclude() {
	denied := 0
	for _, e := range r.Endpoints {
		if e.Denied != "" {
			denied++
		}
	}
	switch {
	case len(r.Endpoints) == 0 && !slices.ContainsFunc(r.Clusters, func(s Share) bool { return r.open(s.Cluster) }):
		r.end(Refused, 503, "there is no endpoint")
	case denied > 0 && denied == len(r.Endpoints):
		status := 403
		if strings.HasPrefix(r.Endpoints[0].Denied, "PeerAuthentication") {
			status = 503
		}
		if strings.Contains(r.Endpoints[0].Denied, "Jwt") {
			status = 401
		}
		r.end(Denied, status, "%s", r.Endpoints[0].Denied)
	case denied > 0:
		r.Why = fmt.Sprintf("%d of %d endpoints refuse it", denied, len(r.Endpoints))
	}
}

// open tells whether a cluster has no endpoints of its own to count.
func (r *request) open(name string) bool {
	c := r.client.dry.Clusters[name]
	return c != nil && c.GetType() != clusterv3.Cluster_EDS && name != wire.BlackHoleCluster
}

// cluster says which service a cluster is of, and what DestinationRules say of it.
func (r *request) cluster(share Share, c *clusterv3.Cluster) {
	name := r.meshName(share.Cluster)
	_, port, subset, host, ok := wire.SplitClusterName(name)
	part := "cluster"
	if share.Percent < 100 {
		part = fmt.Sprintf("cluster (%.4g%%)", share.Percent)
	}
	v := r.client.view
	svc := v.Service(host)
	if !ok || svc == nil {
		what := "where the client was going"
		switch name {
		case wire.BlackHoleCluster:
			what = "nowhere: the mesh lets only known hosts out (outboundTrafficPolicy)"
		case wire.PassthroughCluster:
			what += ": the mesh lets unknown hosts out (outboundTrafficPolicy)"
		}
		r.say(part, nil, "%s: %s", name, what)
		return
	}
	r.say(part, &svc.Meta, "%s", name)
	r.patches(r.client, wire.TypeCluster, share.Cluster)
	p := v.Policy(svc)
	for _, set := range p.Sets {
		says := "for host " + set.Host + ", " + r.lookup(set)
		if subset != "" {
			says += "; subset " + subset
			if sub := p.Subset(subset); sub == nil {
				says += " is not there"
			} else if set.Subsets != nil {
				says += " " + labels(sub.Labels)
			}
		}
		r.say("destination rule", &set.Meta, "%s%s", says, policyText(p.Ruled(port, subset)))
	}
	if len(p.Sets) == 0 {
		r.say("destination rule", nil, "none for %s: the mesh's defaults", host)
	}
	for _, set := range r.Snapshot.Policies {
		if slices.Contains(p.Keys, set.Key) || set.Host != host {
			continue
		}
		switch {
		case !set.Exports.To(v.Proxy.Namespace()):
			r.say("not considered", &set.Meta, "is for this host, and not exported to namespace %s", v.Proxy.Namespace())
		case set.Selector != nil && !model.Matches(set.Selector, v.Proxy.Labels()):
			r.say("not considered", &set.Meta, "is for this host, and for other clients (workloadSelector)")
		default:
			r.say("not considered", &set.Meta, "is for this host; rules nearer to the client have the word: its own namespace, then the service's, then the root's")
		}
	}
	if c.GetOutlierDetection() != nil {
		r.say("outlier detection", nil, "endpoints that fail are left out for a while")
	}
}

// lookup says why a rule was found.
func (r *request) lookup(set *model.TrafficPolicySet) string {
	switch set.Key.Namespace {
	case r.client.view.Proxy.Namespace():
		return "of the client's namespace"
	case r.client.view.Mesh.RootNamespace:
		return "of the root namespace"
	}
	return "of the service's namespace"
}

func labels(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return "(" + strings.Join(out, ",") + ")"
}

// policyText names the parts that rules set.
func policyText(t model.TrafficPolicy) string {
	var parts []string
	for name, set := range map[string]bool{
		"loadBalancer": t.LB != nil, "connectionPool": t.Pool != nil, "outlierDetection": t.Outlier != nil, "tls": t.TLS != nil, "tunnel": t.Tunnel != nil,
		"retryBudget": t.RetryBudget != nil,
	} {
		if set {
			parts = append(parts, name)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return "; sets " + strings.Join(parts, ", ")
}

// endpoints adds those of a cluster.
func (r *request) endpoints(c *clusterv3.Cluster) {
	cla := c.GetLoadAssignment()
	if c.GetType() == clusterv3.Cluster_EDS {
		name := c.GetEdsClusterConfig().GetServiceName()
		if name == "" {
			name = c.Name
		}
		if res, ok := r.client.made.Get(wire.TypeEndpoint, name); ok {
			m := &endpointv3.ClusterLoadAssignment{}
			if res.Body.UnmarshalTo(m) == nil {
				cla = m
			}
		}
	}
	for _, l := range cla.GetEndpoints() {
		at := l.GetLocality()
		for _, e := range l.LbEndpoints {
			out := Endpoint{
				Address: xdstext.Address(e.GetEndpoint().GetAddress()), Cluster: c.Name, Priority: l.Priority, Health: xdstext.Health(e.HealthStatus),
				Locality: strings.Trim(strings.Join([]string{at.GetRegion(), at.GetZone(), at.GetSubZone()}, "/"), "/"),
			}
			out.MTLS = speaksMesh(c, e)
			if a, ok := splitHostPort(out.Address); ok {
				if w, _ := r.at(a); w != nil {
					out.Workload = w.Name + "." + w.Namespace
				}
			}
			r.Endpoints = append(r.Endpoints, out)
		}
	}
}

// upstreamTLS is the TLS that a cluster speaks with an endpoint; nil: none.
func upstreamTLS(c *clusterv3.Cluster, e *endpointv3.LbEndpoint) *tlsv3.UpstreamTlsContext {
	socket := c.TransportSocket
	mode := e.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"].GetFields()["tlsMode"].GetStringValue()
	for _, m := range c.TransportSocketMatches {
		if want := m.Match.GetFields()["tlsMode"].GetStringValue(); want == "" || want == mode {
			socket = m.TransportSocket
			break
		}
	}
	out := &tlsv3.UpstreamTlsContext{}
	if socket.GetTypedConfig().UnmarshalTo(out) != nil {
		return nil
	}
	return out
}

// speaksMesh tells whether the client's proxy shows its identity to an endpoint.
func speaksMesh(c *clusterv3.Cluster, e *endpointv3.LbEndpoint) bool {
	return slices.ContainsFunc(upstreamTLS(c, e).GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs(), func(s *tlsv3.SdsSecretConfig) bool { return s.Name == wire.SecretWorkload })
}

// enter asks the server's proxy what it does with the request.
func (r *request) enter(e *Endpoint, c *clusterv3.Cluster, told map[string]bool) error {
	to, ok := splitHostPort(e.Address)
	if !ok {
		return nil
	}
	w, port := r.at(to)
	if w == nil {
		return nil
	}
	first := !told[w.Namespace+"/"+w.App]
	told[w.Namespace+"/"+w.App] = true
	if !w.Mesh {
		if first {
			r.say("server", &w.Meta, "has no proxy: no policy of the mesh holds there")
		}
		return nil
	}
	s, err := r.side(r.Known(w))
	if err != nil {
		return err
	}
	if first {
		r.peer(s, port, e.MTLS)
	}
	in := s.entrance(to)
	if in == nil {
		return nil
	}
	if first {
		r.patches(s, wire.TypeListener, in.Name)
	}
	conn, facts := r.connection(e, c, to)
	chain, err := in.Choose(facts)
	if err != nil {
		return err
	}
	if chain == nil {
		e.Denied = "PeerAuthentication: " + s.view.MTLS().For(port).String() + " takes no plain text"
		return nil
	}
	if first {
		r.tokens(s)
	}
	return r.judge(s, e, verdict{chain, conn, first})
}

// verdict is a connection at the server, and whether it is the first of its kind.
type verdict struct {
	chain *listener.FilterChain
	conn  *filter.ConnInfo
	first bool
}

// judge asks the server's filters.
func (r *request) judge(s *side, e *Endpoint, v verdict) error {
	for i, name := range s.dry.Filters(v.chain) {
		if name != "envoy.filters.network.rbac" || i >= len(v.chain.Filters) {
			continue
		}
		if f := v.chain.Filters[i].New(); f != nil && f.Open(nil, v.conn) == filter.Reply {
			e.Denied = r.denial(s, &filter.LocalReply{Details: v.conn.Termination})
		}
	}
	m, ok := v.chain.Terminal.(*http.Manager)
	var j http.Judgement
	head := *r.arriving()
	if ok && e.Denied == "" && !r.to.bytes {
		j = m.Judge(&head, &filter.Info{Conn: v.conn, Remote: v.conn.Remote})
		if j.Reply != nil {
			e.Denied = r.denial(s, j.Reply)
		}
	}
	if v.first {
		r.policies(s, &j, &head)
		r.plugins("server", s, model.SidecarInbound)
		r.telemetry("server", s, model.ServerSide)
	}
	return nil
}

// connection is what the server's proxy sees of the client's.
func (r *request) connection(e *Endpoint, c *clusterv3.Cluster, to netip.AddrPort) (*filter.ConnInfo, *listener.Facts) {
	from := r.address()
	if r.client.proxy.Gateway() {
		if list := r.client.proxy.Addresses(); len(list) > 0 {
			from = netip.AddrPortFrom(list[0], 40000)
		}
	}
	conn := &filter.ConnInfo{Local: to, Remote: from, Direct: from}
	facts := &listener.Facts{Local: to, Remote: from, Direct: from, ALPN: []string{"http/1.1"}}
	if r.to.bytes {
		facts.ALPN = nil
	}
	if !e.MTLS {
		return conn, facts
	}
	ctx := &tlsv3.UpstreamTlsContext{}
	for _, m := range c.TransportSocketMatches {
		if m.TransportSocket.GetTypedConfig().UnmarshalTo(ctx) == nil {
			break
		}
	}
	if c.TransportSocket != nil {
		_ = c.TransportSocket.GetTypedConfig().UnmarshalTo(ctx) // is what endpoints say
	}
	facts.TLS, facts.SNI, facts.ALPN = true, strings.ToLower(ctx.Sni), ctx.GetCommonTlsContext().GetAlpnProtocols()
	conn.SNI, conn.PeerURI, conn.Verified = ctx.Sni, r.spiffe(), true
	conn.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{certificate(conn.PeerURI)}}
	return conn, facts
}

// certificate is as much of a workload's as policies look at.
func certificate(uri string) *x509.Certificate {
	c := &x509.Certificate{}
	if u, err := url.Parse(uri); err == nil && uri != "" {
		c.URIs = []*url.URL{u}
	}
	return c
}
