package fleet

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	snapshots "github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

// randomMesh makes edits of a mesh. What may matter to some proxies and not to
// others is in it: selectors, localities, namespaces, families, Sidecars.
type randomMesh struct {
	rnd     *rand.Rand
	hash    uint64
	objects map[model.Key]model.Object
}

var (
	someNamespaces = []string{"shop", "bank", "istio-system"}
	someApps       = []string{"web", "till", "cart"}
)

func (m *randomMesh) pick(list ...string) string { return list[m.rnd.IntN(len(list))] }
func (m *randomMesh) some(percent int) bool      { return m.rnd.IntN(100) < percent }

func (m *randomMesh) meta(kind model.Kind, namespace, name string) model.Meta {
	m.hash++
	return model.Meta{
		Key: model.Key{Kind: kind, Namespace: namespace, Name: name}, Hash: m.hash, Created: int64(m.rnd.IntN(3)),
		Origin: model.Origin{File: name + ".yaml", Line: 1 + m.rnd.IntN(2)},
	}
}

func (m *randomMesh) exports(namespace string) model.Visibility {
	if m.some(80) {
		return model.Visibility{Public: true}
	}
	return model.Visibility{Namespaces: []string{namespace}}
}

func (m *randomMesh) host() string {
	return fmt.Sprintf("s%d.%s.svc.cluster.local", m.rnd.IntN(5), m.pick(someNamespaces...))
}

func (m *randomMesh) locality() model.Locality {
	if m.some(40) {
		return model.Locality{}
	}
	return model.Locality{Region: m.pick("north", "south"), Zone: m.pick("a", "b")}
}

func (m *randomMesh) endpoints() (out []model.Endpoint) {
	for i := range m.rnd.IntN(4) {
		out = append(out, model.Endpoint{
			Address: fmt.Sprintf("11.0.%d.%d", m.rnd.IntN(3), i+1), Labels: map[string]string{"version": m.pick("v1", "v2")},
			Locality: m.locality(), Weight: uint32(m.rnd.IntN(3)), Healthy: true, ServiceAccount: m.pick("", "a"),
		})
	}
	return out
}

func (m *randomMesh) service() *model.Service {
	i, namespace := m.rnd.IntN(5), m.pick(someNamespaces...)
	name := fmt.Sprintf("s%d", i)
	s := &model.Service{
		Meta: m.meta(model.KindService, namespace, name), Host: name + "." + namespace + ".svc.cluster.local", Namespace: namespace, Name: name,
		Exports: m.exports(namespace), Inline: m.endpoints(),
		Ports: []model.ServicePort{{Name: "http", Port: 80, Protocol: model.HTTP}},
	}
	// What a service is follows from its number, so that most edits are of endpoints.
	if i%2 == 0 {
		s.Selector = map[string]string{"app": someApps[i%3]}
		s.Ports = append(s.Ports, model.ServicePort{Name: "tcp", Port: 6379, Protocol: model.TCP, TargetName: "redis"})
	}
	if i == 4 {
		s.Headless, s.Resolution = true, model.Passthrough
	}
	if i == 3 {
		s.Ports = append(s.Ports, model.ServicePort{Name: "any", Port: 9000})
	}
	if m.some(10) {
		s.Ports = append(s.Ports, model.ServicePort{Name: "more", Port: 81, Protocol: model.GRPC})
	}
	return s
}

func (m *randomMesh) workload(namespace, name, app string) *model.Workload {
	w := &model.Workload{
		Meta: m.meta(model.KindWorkload, namespace, name), Name: name, App: app, Namespace: namespace,
		Labels:    map[string]string{"app": app, "version": m.pick("v1", "v2")},
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, namespace[0], name[0], name[len(name)-1]})},
		Ready:     m.some(80), Mesh: m.some(80), Locality: m.locality(), ServiceAccount: m.pick("a", "b"), Engine: m.pick("go", "envoy"),
		Ports: map[string]uint16{"redis": 6379},
	}
	w.Created = 0
	if m.some(20) {
		w.Addresses = append(w.Addresses, netip.MustParseAddr(fmt.Sprintf("fd00::%x:%x", namespace[0], name[len(name)-1])))
	}
	return w
}

func (m *randomMesh) routes() *model.RouteSet {
	host := m.host()
	r := &model.RouteSet{
		Meta:  m.meta(model.KindVirtualService, m.pick(someNamespaces...), m.pick("r1", "r2", "r3")),
		Hosts: []string{host}, Gateways: []string{"mesh"}, Exports: model.Visibility{Public: true},
	}
	match := model.Match{Conditions: []model.Condition{{Attr: model.AttrPath, Op: model.Prefix, Value: m.pick("/a", "/b")}}}
	if m.some(40) {
		match.SourceLabels = map[string]string{"version": m.pick("v1", "v2")}
	}
	to := []model.Destination{{Host: m.host(), Port: 80, Subset: m.pick("", "v1")}}
	r.HTTP = []model.Route{{Matches: []model.Match{match}, Destinations: to}, {Destinations: to}}
	if m.some(30) {
		r.TCP = []model.Route{{Destinations: []model.Destination{{Host: m.host(), Port: 6379}}}}
	}
	return r
}

func (m *randomMesh) policy() *model.TrafficPolicySet {
	namespace := m.pick(someNamespaces...)
	p := &model.TrafficPolicySet{
		Meta: m.meta(model.KindDestinationRule, namespace, m.pick("p1", "p2", "p3")), Host: m.host(), Exports: m.exports(namespace),
		Subsets: []model.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}}},
	}
	if m.some(30) {
		p.Selector = map[string]string{"app": m.pick(someApps...)}
	}
	switch m.rnd.IntN(4) {
	case 0:
		p.Policy.LB = &model.LoadBalancer{Locality: &model.LocalityLB{Enabled: true, Distribute: []model.LocalityShare{{
			From: m.pick("north/*", "*"), To: map[string]uint32{"north/*": 70, "south/*": 30}}}}}
	case 1:
		p.Policy.Outlier = &model.Outlier{}
	case 2:
		p.Policy.TLS = &model.ClientTLS{Mode: model.ClientTLSSimple, Credential: m.pick(someNamespaces...) + "/cert"}
	}
	return p
}

func (m *randomMesh) rest() model.Object {
	namespace := m.pick(someNamespaces...)
	switch m.rnd.IntN(7) {
	case 5:
		t := &model.Telemetry{
			Meta:    m.meta(model.KindTelemetry, m.pick(namespace, "istio-system"), m.pick("t1", "t2")),
			Metrics: []model.MetricsRule{{Overrides: []model.MetricOverride{{Metric: "requests_total", Tags: []model.MetricTag{{Name: "x", Value: m.pick("'a'", "'b'")}}}}}},
			Logs:    []model.LogRule{{Providers: []string{"envoy"}, Disabled: m.some(50)}},
			Tracing: []model.TracingRule{{Sampling: new(float64(m.rnd.IntN(3)))}},
		}
		if m.some(60) {
			t.Selector = map[string]string{"app": m.pick(someApps...), "version": m.pick("v1", "v2")}
		}
		return t
	case 0:
		s := &model.Sidecar{
			Meta:   m.meta(model.KindSidecar, namespace, m.pick("one", "two")),
			Egress: []model.SidecarEgress{{Hosts: []string{m.pick("./*", "*/*", "shop/*")}}},
		}
		if m.some(60) {
			s.Selector = map[string]string{"app": m.pick(someApps...)}
		}
		return s
	case 1:
		return &model.PeerAuth{
			Meta: m.meta(model.KindPeerAuthentication, namespace, "auth"), Selector: map[string]string{"app": m.pick(someApps...)},
			Mode: []model.MTLSMode{model.MTLSStrict, model.MTLSDisable, model.MTLSPermissive}[m.rnd.IntN(3)],
		}
	case 2:
		return &model.Secret{Meta: m.meta(model.KindSecret, namespace, "cert"), Cert: []byte("c"), PrivateKey: []byte("k"), CA: []byte(m.pick("a", "b"))}
	case 3:
		mesh := model.DefaultMesh()
		mesh.Meta = m.meta(model.KindMeshConfig, "", "weft")
		mesh.AccessLogFile = m.pick("", "/dev/stdout")
		if m.some(50) {
			mesh.Tracing = &model.Provider{Name: "zipkin", Kind: model.ProviderZipkin, Service: m.host(), Port: 80, Path: "/"}
		}
		if m.some(50) {
			mesh.LocalityLB = &model.LocalityLB{Enabled: true, Priority: []string{"version"}}
		}
		return mesh
	case 4:
		return &model.Gateway{
			Meta: m.meta(model.KindGateway, namespace, "gw"), Selector: map[string]string{"app": "cart"},
			Servers: []model.Server{{Port: 80, Protocol: model.HTTP, Hosts: []string{"*/*"}}},
		}
	}
	return &model.Authz{Meta: m.meta(model.KindAuthorizationPolicy, namespace, "rules"), Rules: []model.AuthzRule{{}}}
}

// limits are of a service's inbound side mostly; most edits of them turn something on or off.
func (m *randomMesh) limits() *model.Limits {
	name, namespace := m.pick("s0", "s2"), m.pick("shop", "bank")
	x := &model.Limits{Meta: m.meta(model.KindLimits, namespace, name)}
	quota := func(i int) model.LimitQuota {
		return model.LimitQuota{ID: fmt.Sprintf("%s/%s/%d", namespace, name, i), Active: m.some(60), Quota: float64(1 + m.rnd.IntN(3))}
	}
	if old, ok := m.objects[x.Key].(*model.Limits); ok && m.some(85) {
		x.Limiter = old.Limiter
		for i := range x.Limiter.Rules {
			x.Quotas = append(x.Quotas, quota(i))
		}
		return x
	}
	x.Limiter = &model.SmartLimiter{
		Meta: m.meta(model.KindSmartLimiter, namespace, name), Service: name + "." + namespace + ".svc.cluster.local", Domain: "slime",
		Rules: []model.LimitRule{
			{Set: model.WholeService, Interval: time.Second, Strategy: model.LimitSingle},
			{Set: model.WholeService, Interval: time.Second, Strategy: model.LimitGlobal, Target: model.LimitTarget{Outbound: m.some(20)}},
			{Set: model.WholeService, Concurrency: true},
		},
	}
	if m.some(20) {
		x.Limiter.Service, x.Limiter.Selector = "", map[string]string{"version": m.pick("v1", "v2")}
	}
	for i := range x.Limiter.Rules {
		x.Quotas = append(x.Quotas, quota(i))
	}
	return x
}

// edit is a random change: mostly of instances, as in life.
func (m *randomMesh) edit() model.Delta {
	d := model.Delta{Source: "file"}
	for range 1 + m.rnd.IntN(2) {
		var o model.Object
		switch n := m.rnd.IntN(100); {
		case n < 10:
			o = m.limits()
		case n < 40:
			o = m.service()
			if old, ok := m.objects[o.Head().Key].(*model.Service); ok && m.some(90) {
				same := *old
				same.Inline, same.Hash = m.endpoints(), m.hash
				o = &same
			}
		case n < 80:
			app := m.pick(someApps...)
			o = m.workload(m.pick(someNamespaces...), fmt.Sprintf("%s-%d", app, m.rnd.IntN(3)), app)
		case n < 85:
			o = m.routes()
		case n < 92:
			o = m.policy()
		default:
			o = m.rest()
		}
		k := o.Head().Key
		if m.objects[k] != nil && m.some(20) {
			d.Deletes = append(d.Deletes, k)
			delete(m.objects, k)
			continue
		}
		if !slices.Contains(d.Deletes, k) {
			m.objects[k] = o
			d.Upserts = append(d.Upserts, o)
		}
	}
	return d
}

func (m *randomMesh) proxy() scope.Proxy {
	app, namespace := m.pick(someApps...), m.pick(someNamespaces...)
	p := scope.Proxy{ID: wire.NodeID{
		Type: wire.Sidecar, IP: fmt.Sprintf("11.0.%d.%d", m.rnd.IntN(3), 1+m.rnd.IntN(3)), Namespace: namespace,
		Name: fmt.Sprintf("%s-%d", app, m.rnd.IntN(4)), Domain: m.pick("", namespace+".svc.cluster.local"),
	}}
	p.Meta = wire.NodeMetadata{Labels: map[string]string{"app": app, "version": m.pick("v1", "v2")}, Engine: m.pick("", "go", "envoy")}
	if m.some(20) {
		p.Meta.HTTPProxyPort = "15080"
	}
	if m.some(20) {
		p.ID.Type = wire.Router
	}
	if m.some(20) {
		p.Meta.InstanceIPs = p.ID.IP + ",fd00::1"
	}
	return p
}

// name is one that a proxy may ask for.
func (m *randomMesh) name(url string) string {
	s, namespace := fmt.Sprintf("s%d", m.rnd.IntN(5)), m.pick(someNamespaces...)
	port := m.pick("80", "81", "6379", "9000")
	if url == wire.TypeVirtualHost {
		return wire.OnDemandRoute + "/" + m.pick(s, s+"."+namespace, m.host()) + m.pick("", ":"+port)
	}
	return m.pick("outbound|"+port+"||"+m.host(), fmt.Sprintf("%s11.0.%d.%d:%s", wire.DemandTCP, m.rnd.IntN(3), 1+m.rnd.IntN(3), port))
}

// TestFollowingIsStartingAnew edits a mesh at random and compares, after each edit and
// for each of many kinds of proxies, what the fleet has brought up to date with a
// translation from nothing: the same names, the same bytes, the same Findings.
func TestFollowingIsStartingAnew(t *testing.T) {
	small, limits := 0, 0
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			s, l := follow(t, seed, 40)
			small, limits = small+s, limits+l
		})
	}
	if small < 20 || limits < 3 {
		t.Errorf("%d edits were changes of instances and limits alone, %d of limits: the test shows little", small, limits)
	}
}

func follow(t *testing.T, seed uint64, edits int) (small, limits int) {
	m := &randomMesh{rnd: rand.New(rand.NewPCG(seed, 3)), objects: map[model.Key]model.Object{}}
	publisher := snapshots.New(snapshots.Options{Sources: []string{"file"}})
	ctx := t.Context()
	go func() { _ = publisher.Run(ctx) }()
	f := New(&watch.Cell[*model.Snapshot]{}, []string{wire.ModeEager, wire.ModeOnDemand}[seed%2], slog.New(slog.DiscardHandler))
	defer f.events.stop()
	d := m.edit()
	d.Full = true
	var sessions []*session
	for i := range edits {
		publisher.In() <- d
		time.Sleep(time.Second)
		synctest.Wait()
		s := publisher.Cell().Load()
		f.apply(ctx, s)
		if c := f.index.Load().Change; c != nil {
			small, limits = small+1, limits+len(c.Limits)
		}
		for range 2 {
			if len(sessions) < 16 {
				p := m.proxy()
				session := newSession(f, p.ID.String(), p, model.Key{Kind: model.KindWorkload, Namespace: p.ID.Namespace, Name: p.ID.Name})
				session.delta = true
				f.open(session)
				sessions = append(sessions, session)
			}
		}
		for _, p := range sessions {
			if url := m.pick(demanded...); m.some(20) {
				p.Demand(url, []string{m.name(url)}, nil, nil)
			}
			if !compare(t, fmt.Sprintf("seed %d, edit %d of %v: proxy %s", seed, i, d, p.id), p, s) {
				return small, limits
			}
		}
		if i == edits/2 {
			for _, p := range sessions[:8] {
				p.Close()
			}
			sessions = slices.Clone(sessions[8:])
		}
		d = m.edit()
	}
	return small, limits
}

func compare(t *testing.T, at string, p *session, s *model.Snapshot) bool {
	t.Helper()
	got := p.state.Load().state
	proxy, held := p.proxy, map[string]string{}
	proxy.OnDemand = p.used != nil
	if proxy.OnDemand {
		// Whether endpoints are inside of their cluster depends on what was before.
		for r := range got.Sets[wire.TypeEndpoint].All() {
			held[r.Name] = "another"
		}
	}
	want, findings := translate.TranslateAsked(scope.Build(scope.NewIndex(s), proxy), translate.Ask{Names: p.asked, Held: held})
	types := maps.Clone(got.Sets)
	for url := range want.ByType {
		types[url] = got.Sets[url]
	}
	for url, set := range types {
		versions := map[string]string{}
		for _, r := range want.ByType[url] {
			versions[r.Name] = string(r.Delta.ReadOnlyData())
		}
		have := map[string]string{}
		for r := range set.All() {
			have[r.Name] = string(r.Delta.ReadOnlyData())
		}
		if d := cmp.Diff(versions, have); d != "" {
			t.Errorf("%s: %s, -want +got:\n%s", at, url, d)
			return false
		}
	}
	told := map[model.Finding]bool{}
	for _, x := range slices.Concat(p.shared.Findings, p.own.Findings) {
		told[x] = true
	}
	if p.used != nil {
		for _, x := range p.used.Findings {
			told[x] = true
		}
	}
	wanted := map[model.Finding]bool{}
	for _, x := range findings {
		wanted[x] = true
	}
	if d := cmp.Diff(wanted, told); d != "" {
		t.Errorf("%s: findings, -want +got:\n%s", at, d)
		return false
	}
	return true
}
