package scope

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

var public = model.Visibility{Public: true}

func meta(kind model.Kind, namespace, name string) model.Meta {
	return model.Meta{Key: model.Key{Kind: kind, Namespace: namespace, Name: name}}
}

func service(namespace, name string, exports model.Visibility) *model.Service {
	return &model.Service{
		Meta: meta(model.KindService, namespace, name), Namespace: namespace, Name: name,
		Host: name + "." + namespace + ".svc.cluster.local", Exports: exports,
		Ports:    []model.ServicePort{{Name: "http", Port: 80, Protocol: model.HTTP}},
		Selector: map[string]string{"app": name},
	}
}

func workload(namespace, name string, labels map[string]string) *model.Workload {
	return &model.Workload{
		Meta: meta(model.KindWorkload, namespace, name), Namespace: namespace, Name: name, Labels: labels, Ready: true, Mesh: true,
	}
}

func proxy(w *model.Workload) Proxy {
	return Proxy{ID: wire.NodeID{Type: wire.Sidecar, Namespace: w.Namespace, Name: w.Name}}
}

func hosts(list []*model.Service) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Name+"."+s.Namespace)
	}
	return out
}

func TestVisibleServices(t *testing.T) {
	client := workload("default", "client", map[string]string{"app": "client"})
	entry := func(namespace string) *model.Service {
		s := service(namespace, "api", public)
		s.Host, s.FromEntry = "api.example.com", true
		return s
	}
	base := []*model.Service{
		service("default", "a", public),
		service("other", "b", public),
		service("other", "private", model.Visibility{Namespaces: []string{"other"}}),
		entry("other"), entry("default"),
	}
	egress := func(hosts ...string) []*model.Sidecar {
		return []*model.Sidecar{{Meta: meta(model.KindSidecar, "default", "s"), Egress: []model.SidecarEgress{{Hosts: hosts}}}}
	}
	for _, tc := range []struct {
		name     string
		sidecars []*model.Sidecar
		routes   []*model.RouteSet
		want     []string
	}{
		{"everything exported, own namespace first", nil, nil, []string{"a.default", "api.default", "b.other"}},
		{"own namespace", egress("./*"), nil, []string{"a.default", "api.default"}},
		{"one host", egress("other/b.other.svc.cluster.local"), nil, []string{"b.other"}},
		{"by suffix", egress("*/*.example.com"), nil, []string{"api.default"}},
		{"nothing", egress("~/*"), nil, nil},
		{"subtracted", egress("*/*", "~other/*"), nil, []string{"a.default", "api.default"}},
		{"what an admitted route leads to", egress("./*"), []*model.RouteSet{{
			Meta: meta(model.KindVirtualService, "default", "r"), Hosts: []string{"a.default.svc.cluster.local"},
			Gateways: []string{"mesh"}, Exports: public,
			HTTP: []model.Route{{Destinations: []model.Destination{{Host: "b.other.svc.cluster.local"}}}},
		}}, []string{"a.default", "api.default", "b.other"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			idx := NewIndex(&model.Snapshot{
				Services: base, Workloads: []*model.Workload{client}, Sidecars: tc.sidecars, Routes: tc.routes,
			})
			if diff := cmp.Diff(tc.want, hosts(Build(idx, proxy(client)).Services)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSidecarOf(t *testing.T) {
	client := workload("default", "client", map[string]string{"app": "client"})
	sidecar := func(namespace, name string, selector map[string]string) *model.Sidecar {
		return &model.Sidecar{Meta: meta(model.KindSidecar, namespace, name), Selector: selector}
	}
	mine := sidecar("default", "mine", map[string]string{"app": "client"})
	other := sidecar("default", "other", map[string]string{"app": "other"})
	namespace := sidecar("default", "namespace", nil)
	root := sidecar("istio-system", "root", nil)
	for _, tc := range []struct {
		name string
		have []*model.Sidecar
		want *model.Sidecar
	}{
		{"none", nil, nil},
		{"of another workload", []*model.Sidecar{other}, nil},
		{"root", []*model.Sidecar{other, root}, root},
		{"namespace before root", []*model.Sidecar{root, namespace}, namespace},
		{"workload before namespace", []*model.Sidecar{root, namespace, mine}, mine},
	} {
		t.Run(tc.name, func(t *testing.T) {
			idx := NewIndex(&model.Snapshot{Workloads: []*model.Workload{client}, Sidecars: tc.have})
			if got := Build(idx, proxy(client)).Sidecar; got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestPolicy(t *testing.T) {
	client := workload("default", "client", map[string]string{"app": "client"})
	rule := func(namespace, name, host string, f func(*model.TrafficPolicySet)) *model.TrafficPolicySet {
		p := &model.TrafficPolicySet{Meta: meta(model.KindDestinationRule, namespace, name), Host: host, Exports: public}
		p.Policy.LB = &model.LoadBalancer{}
		if f != nil {
			f(p)
		}
		return p
	}
	const host = "b.other.svc.cluster.local"
	for _, tc := range []struct {
		name string
		have []*model.TrafficPolicySet
		want []string
	}{
		{"none", nil, nil},
		{"service's namespace", []*model.TrafficPolicySet{rule("other", "x", host, nil)}, []string{"x"}},
		{"client's namespace first", []*model.TrafficPolicySet{rule("other", "x", host, nil), rule("default", "y", "*.svc.cluster.local", nil)}, []string{"y"}},
		{"root last", []*model.TrafficPolicySet{rule("istio-system", "r", "*", nil), rule("other", "x", host, nil)}, []string{"x"}},
		{"root", []*model.TrafficPolicySet{rule("istio-system", "r", "*", nil)}, []string{"r"}},
		{"a third namespace has no say", []*model.TrafficPolicySet{rule("third", "t", host, nil)}, nil},
		{"exact before wildcard", []*model.TrafficPolicySet{rule("other", "w", "*.cluster.local", nil), rule("other", "x", host, nil)}, []string{"x"}},
		{"longest wildcard", []*model.TrafficPolicySet{rule("other", "w", "*.cluster.local", nil), rule("other", "x", "*.other.svc.cluster.local", nil)}, []string{"x"}},
		{"joined", []*model.TrafficPolicySet{rule("other", "x", host, nil), rule("other", "y", host, nil)}, []string{"x", "y"}},
		{"not exported", []*model.TrafficPolicySet{rule("other", "x", host, func(p *model.TrafficPolicySet) { p.Exports = model.Visibility{} })}, nil},
		{"workload selector wins", []*model.TrafficPolicySet{
			rule("default", "all", host, nil),
			rule("default", "me", host, func(p *model.TrafficPolicySet) { p.Selector = map[string]string{"app": "client"} }),
			rule("default", "you", host, func(p *model.TrafficPolicySet) { p.Selector = map[string]string{"app": "other"} }),
		}, []string{"me"}},
		{"selector is for the own namespace only", []*model.TrafficPolicySet{
			rule("other", "me", host, func(p *model.TrafficPolicySet) { p.Selector = map[string]string{"app": "client"} }),
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := service("other", "b", public)
			idx := NewIndex(&model.Snapshot{Services: []*model.Service{s}, Workloads: []*model.Workload{client}, Policies: tc.have})
			var got []string
			for _, k := range Build(idx, proxy(client)).Policy(s).Keys {
				got = append(got, k.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPolicyFor(t *testing.T) {
	lb := func(a model.LBAlgorithm) *model.LoadBalancer { return &model.LoadBalancer{Algorithm: a} }
	tls := &model.ClientTLS{Mode: model.ClientTLSSimple}
	p := &Policy{
		Traffic: model.TrafficPolicy{LB: lb(model.Random), TLS: tls, Ports: map[uint16]model.TrafficPolicy{81: {LB: lb(model.RoundRobin)}}},
		Subsets: []model.Subset{
			{Name: "v1", Policy: model.TrafficPolicy{LB: lb(model.LeastRequest)}},
			{Name: "v2", Policy: model.TrafficPolicy{Ports: map[uint16]model.TrafficPolicy{80: {LB: lb(model.ConsistentHash)}}}},
		},
	}
	for _, tc := range []struct {
		name   string
		port   uint16
		subset string
		lb     model.LBAlgorithm
		tls    bool
	}{
		{"whole", 80, "", model.Random, true},
		{"port replaces all parts", 81, "", model.RoundRobin, false},
		{"subset replaces its parts", 80, "v1", model.LeastRequest, true},
		{"subset over port", 81, "v1", model.LeastRequest, false},
		{"port of the subset", 80, "v2", model.ConsistentHash, false},
		{"subset that says nothing", 81, "v2", model.RoundRobin, false},
		{"unknown subset", 80, "v3", model.Random, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := p.For(tc.port, tc.subset)
			if got.LB.Algorithm != tc.lb || (got.TLS != nil) != tc.tls {
				t.Errorf("got %d, TLS %v; want %d, TLS %v", got.LB.Algorithm, got.TLS != nil, tc.lb, tc.tls)
			}
		})
	}
}

func TestMTLS(t *testing.T) {
	auth := func(namespace string, selector map[string]string, mode model.MTLSMode, ports map[uint16]model.MTLSMode) *model.PeerAuth {
		return &model.PeerAuth{Meta: meta(model.KindPeerAuthentication, namespace, "p"), Selector: selector, Mode: mode, Ports: ports}
	}
	app := map[string]string{"app": "a"}
	for _, tc := range []struct {
		name string
		have []*model.PeerAuth
		port uint16
		want model.MTLSMode
	}{
		{"default", nil, 80, model.MTLSPermissive},
		{"mesh", []*model.PeerAuth{auth("istio-system", nil, model.MTLSStrict, nil)}, 80, model.MTLSStrict},
		{"namespace", []*model.PeerAuth{auth("istio-system", nil, model.MTLSStrict, nil), auth("default", nil, model.MTLSDisable, nil)}, 80, model.MTLSDisable},
		{"unset inherits", []*model.PeerAuth{auth("istio-system", nil, model.MTLSStrict, nil), auth("default", nil, model.MTLSUnset, nil)}, 80, model.MTLSStrict},
		{"workload", []*model.PeerAuth{auth("default", nil, model.MTLSDisable, nil), auth("default", app, model.MTLSStrict, nil)}, 80, model.MTLSStrict},
		{"port", []*model.PeerAuth{auth("default", app, model.MTLSStrict, map[uint16]model.MTLSMode{80: model.MTLSDisable})}, 80, model.MTLSDisable},
		{"other port", []*model.PeerAuth{auth("default", app, model.MTLSUnset, map[uint16]model.MTLSMode{81: model.MTLSDisable})}, 80, model.MTLSPermissive},
		{"other workload", []*model.PeerAuth{auth("default", map[string]string{"app": "b"}, model.MTLSStrict, nil)}, 80, model.MTLSPermissive},
		{"other namespace", []*model.PeerAuth{auth("other", nil, model.MTLSStrict, nil)}, 80, model.MTLSPermissive},
		{"root selector is no mesh policy", []*model.PeerAuth{auth("istio-system", app, model.MTLSStrict, nil)}, 80, model.MTLSPermissive},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := workload("default", "a", app)
			idx := NewIndex(&model.Snapshot{Workloads: []*model.Workload{w}, PeerAuths: tc.have})
			if got := idx.MTLS(w).For(tc.port); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestTargetPort(t *testing.T) {
	w := workload("default", "a", nil)
	w.Ports = map[string]uint16{"web": 8080, "http": 9999}
	entry := workload("default", "vm", nil)
	entry.Key.Kind = model.KindWorkloadEntry
	entry.Ports = map[string]uint16{"http": 7777}
	for _, tc := range []struct {
		name string
		in   model.Instance
		port model.ServicePort
		want uint16
		ok   bool
	}{
		{"same", model.Instance{Workload: w}, model.ServicePort{Name: "http", Port: 80}, 80, true},
		{"number", model.Instance{Workload: w}, model.ServicePort{Name: "http", Port: 80, TargetPort: 81}, 81, true},
		{"name", model.Instance{Workload: w}, model.ServicePort{Name: "http", Port: 80, TargetName: "web"}, 8080, true},
		{"missing name", model.Instance{Workload: w}, model.ServicePort{Name: "http", Port: 80, TargetName: "nix"}, 0, false},
		{"entry's own", model.Instance{Workload: entry}, model.ServicePort{Name: "http", Port: 80, TargetPort: 81}, 7777, true},
		{"inline by name", model.Instance{Endpoint: model.Endpoint{Ports: map[string]uint16{"http": 5}, Port: 6}}, model.ServicePort{Name: "http", Port: 80}, 5, true},
		{"inline port", model.Instance{Endpoint: model.Endpoint{Port: 6}}, model.ServicePort{Name: "http", Port: 80, TargetPort: 81}, 6, true},
		{"inline target", model.Instance{}, model.ServicePort{Name: "http", Port: 80, TargetPort: 81}, 81, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := TargetPort(tc.in, &model.Service{}, &tc.port)
			if got != tc.want || ok != tc.ok {
				t.Errorf("got %d %v, want %d %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestDelegate(t *testing.T) {
	prefix := func(v string) []model.Match {
		return []model.Match{{Conditions: []model.Condition{{Attr: model.AttrPath, Op: model.Prefix, Value: v}}}}
	}
	exact := func(v string) []model.Match {
		return []model.Match{{Conditions: []model.Condition{{Attr: model.AttrPath, Op: model.Exact, Value: v}}}}
	}
	for _, tc := range []struct {
		name      string
		root, sub []model.Match
		want      []model.Match
		ok        bool
	}{
		{"no root match", nil, prefix("/a"), prefix("/a"), true},
		{"no delegate match", prefix("/a"), nil, prefix("/a"), true},
		{"narrower prefix", prefix("/a"), prefix("/a/b"), prefix("/a/b"), true},
		{"narrower exact", prefix("/a"), exact("/a/b"), exact("/a/b"), true},
		{"same", exact("/a"), exact("/a"), exact("/a"), true},
		{"wider", prefix("/a/b"), prefix("/a"), nil, false},
		{"apart", prefix("/a"), exact("/b"), nil, false},
		{"regex differs", []model.Match{{Conditions: []model.Condition{{Attr: model.AttrPath, Op: model.Regex, Value: "x"}}}}, prefix("/a"), nil, false},
		{"headers join", []model.Match{{Conditions: []model.Condition{{Attr: model.AttrHeader, Name: "x", Op: model.Exact, Value: "1"}}}}, prefix("/a"),
			[]model.Match{{Conditions: []model.Condition{
				{Attr: model.AttrPath, Op: model.Prefix, Value: "/a"}, {Attr: model.AttrHeader, Name: "x", Op: model.Exact, Value: "1"},
			}}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := mergeMatches(tc.root, tc.sub)
			if ok != tc.ok {
				t.Fatalf("ok is %v, want %v", ok, tc.ok)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestInstances(t *testing.T) {
	a, b := workload("default", "a", map[string]string{"app": "x", "v": "1"}), workload("default", "b", map[string]string{"app": "x", "v": "2"})
	other := workload("other", "c", map[string]string{"app": "x"})
	s := service("default", "x", public)
	s.Inline = []model.Endpoint{{Address: "192.0.2.1"}}
	none := service("default", "none", public)
	none.Selector = nil
	idx := NewIndex(&model.Snapshot{Services: []*model.Service{s, none}, Workloads: []*model.Workload{a, b, other}})
	var got []string
	for _, in := range idx.Instances(s) {
		name := in.Endpoint.Address
		if in.Workload != nil {
			name = in.Workload.Name
		}
		got = append(got, name)
	}
	if diff := cmp.Diff([]string{"192.0.2.1", "a", "b"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n := len(idx.Instances(none)); n != 0 {
		t.Errorf("a service without selector has %d instances", n)
	}
	if !slices.Equal(idx.Served(a), []*model.Service{s}) {
		t.Errorf("a serves %v", hosts(idx.Served(a)))
	}
}

func TestFamilies(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	for _, tc := range []struct {
		name   string
		have   []netip.Addr
		v4, v6 bool
	}{
		{"unknown", nil, true, false},
		{"IPv4", []netip.Addr{four}, true, false},
		{"IPv6", []netip.Addr{six}, false, true},
		{"both", []netip.Addr{six, four}, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Proxy{Workload: &model.Workload{Addresses: tc.have}}
			if v4, v6 := p.Families(); v4 != tc.v4 || v6 != tc.v6 {
				t.Errorf("got %v %v, want %v %v", v4, v6, tc.v4, tc.v6)
			}
		})
	}
}
