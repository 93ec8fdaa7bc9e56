package golden

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// stranger is an authority that no case has.
const stranger = "stranger.invalid"

// TestModesAgree: a proxy that asks is told of every authority and every cluster what a
// proxy that asks for nothing has.
func TestModesAgree(t *testing.T) {
	authorities, clusters := 0, 0
	everywhere(t, func(t *testing.T, c *oneCase, name string) {
		p := c.proxy(t, name)
		if p.Gateway() {
			return
		}
		index := scope.NewIndex(c.snapshot())
		eager, _ := translate.Translate(scope.Build(index, p))
		if p = index.Layout(p, true); !p.OnDemand {
			return // something of an EnvoyFilter needs the eager layout: a Finding says so
		}
		view := scope.Build(index, p)
		hosts, names := eagerHosts(t, eager), eagerClusters(t, eager)
		asked := translate.Asked{wire.TypeVirtualHost: {}, wire.TypeCluster: {}}
		for a := range hosts {
			asked[wire.TypeVirtualHost][wire.OnDemandRoute+"/"+a] = true
		}
		for n := range names {
			asked[wire.TypeCluster][n] = true
		}
		r, _ := translate.TranslateAsked(view, translate.Ask{Names: asked})
		authorities, clusters = authorities+len(hosts), clusters+len(names)
		agreeHosts(t, name, hosts, r)
		for _, s := range view.Services {
			for i := range s.Ports {
				if at := &s.Ports[i]; at.Protocol == model.Unknown {
					n := wire.ClusterName(wire.Outbound, at.Port, "", s.Host)
					quiet(names[n])
				}
			}
		}
		agreeClusters(t, name, names, r)
	})
	t.Logf("%d authorities, %d clusters", authorities, clusters)
}

// eagerHosts are the virtual hosts of route configurations of ports, by the authorities
// that lead to them.
func eagerHosts(t *testing.T, r *translate.Resources) map[string]*routev3.VirtualHost {
	t.Helper()
	out := map[string]*routev3.VirtualHost{}
	for _, rc := range messages(t, r, wire.TypeRoute, func() *routev3.RouteConfiguration { return &routev3.RouteConfiguration{} }) {
		if _, err := strconv.ParseUint(rc.Name, 10, 16); err != nil {
			continue
		}
		for _, vh := range rc.VirtualHosts {
			for _, d := range vh.Domains {
				switch {
				case d == "*":
					d = stranger
				case strings.HasPrefix(d, "*"):
					d = "something" + d[1:]
				}
				out[d+":"+rc.Name] = vh
			}
		}
	}
	return out
}

// eagerClusters are the clusters of services.
func eagerClusters(t *testing.T, r *translate.Resources) map[string]*clusterv3.Cluster {
	t.Helper()
	out := map[string]*clusterv3.Cluster{}
	for _, m := range messages(t, r, wire.TypeCluster, func() *clusterv3.Cluster { return &clusterv3.Cluster{} }) {
		if !strings.HasPrefix(m.Name, string(wire.Outbound)+"|") {
			continue
		}
		whole(t, r, m)
		out[m.Name] = m
	}
	return out
}

// whole puts a cluster's endpoints into it: who asks for one gets it so, unless something of
// the proxy's own, like a log's service, has it already.
func whole(t *testing.T, r *translate.Resources, m *clusterv3.Cluster) {
	t.Helper()
	if m.GetType() != clusterv3.Cluster_EDS {
		return
	}
	m.ClusterDiscoveryType, m.EdsClusterConfig = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, nil
	m.LoadAssignment = &endpointv3.ClusterLoadAssignment{}
	e, ok := r.Get(wire.TypeEndpoint, m.Name)
	if !ok {
		t.Errorf("cluster %s has no endpoints", m.Name)
	} else if err := e.Body.UnmarshalTo(m.LoadAssignment); err != nil {
		t.Fatal(err)
	}
}

// quiet has the cluster of a port without a protocol say that HTTP comes, as it does on
// demand, where bytes have clusters of their own. Eager proxies say so per request.
func quiet(c *clusterv3.Cluster) {
	for _, m := range c.GetTransportSocketMatches() {
		tls := &tlsv3.UpstreamTlsContext{}
		if m.GetTransportSocket().GetTypedConfig().UnmarshalTo(tls) != nil || !slices.Equal(tls.GetCommonTlsContext().GetAlpnProtocols(), cluster.MeshBytes) {
			continue
		}
		tls.CommonTlsContext.AlpnProtocols = cluster.MeshRequests
		m.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: pb.Any(tls)}
	}
}

func agreeHosts(t *testing.T, proxy string, want map[string]*routev3.VirtualHost, r *translate.Resources) {
	t.Helper()
	for _, authority := range sortedKeys(want) {
		x, ok := r.Get(wire.TypeVirtualHost, wire.OnDemandRoute+"/"+authority)
		if !ok {
			t.Errorf("%s: on demand there is no virtual host for %s", proxy, authority)
			continue
		}
		got := &routev3.VirtualHost{}
		if err := x.Body.UnmarshalTo(got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Domains, []string{authority}) {
			t.Errorf("%s: %s: its domains are %v", proxy, authority, got.Domains)
		}
		// Names are those that were asked for; that there is no bound on a stream is said,
		// since the connection manager has one for the wait.
		eager := proto.Clone(want[authority]).(*routev3.VirtualHost)
		got.Name, got.Domains = eager.Name, eager.Domains
		for i, route := range got.Routes {
			if a := route.GetRoute(); a != nil && a.IdleTimeout.AsDuration() == 0 && i < len(eager.Routes) && eager.Routes[i].GetRoute().GetIdleTimeout() == nil {
				a.IdleTimeout = nil
			}
		}
		if err := equalProto(eager, got); err != nil {
			t.Errorf("%s: %s:\n%v", proxy, authority, err)
		}
	}
}

func agreeClusters(t *testing.T, proxy string, want map[string]*clusterv3.Cluster, r *translate.Resources) {
	t.Helper()
	for _, name := range sortedKeys(want) {
		x, ok := r.Get(wire.TypeCluster, name)
		if !ok {
			t.Errorf("%s: on demand there is no cluster %s", proxy, name)
			continue
		}
		got := &clusterv3.Cluster{}
		if err := x.Body.UnmarshalTo(got); err != nil {
			t.Fatal(err)
		}
		whole(t, r, got)
		if err := equalProto(want[name], got); err != nil {
			t.Errorf("%s: %s:\n%v", proxy, name, err)
		}
	}
}
