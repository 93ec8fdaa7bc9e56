package offline

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/source/process"
	"github.com/weftmesh/weft/wire"
)

// imagined is the source of what would run. Its name is that of what does.
const imagined = "process"

// cluster is the one that a supervisor's workloads are in.
const cluster = "Kubernetes"

// engineNone is the engine of a workload without a proxy.
const engineNone = "none"

// imagine adds to what files say the workloads that would run. Those that are known
// keep their addresses.
func imagine(files model.Delta, s Settings, known []*model.Workload) []model.Delta {
	run := &imaginary{engine: cmp.Or(s.Engine, scope.EngineGo), next: s.network(), known: map[string][]netip.Addr{}}
	for _, w := range known {
		if w.Origin.Source == imagined {
			run.known[w.Namespace+"/"+w.Name] = w.Addresses
			run.after(w.Addresses)
		}
	}
	for _, o := range files.Upserts {
		if p, ok := o.(*model.Process); ok {
			for i := range p.Replicas {
				run.process(p, i)
			}
		}
	}
	// Which gateways there are shows only when Gateway API's are attached.
	seen := merge(s, nil, []model.Delta{files, run.delta})
	for _, p := range seen.Cluster.Pods {
		run.pod(p, seen)
	}
	seen.Workloads = slices.Concat(seen.Workloads, run.pods)
	for _, g := range model.ImpliedGateways(seen.Gateways, func(selector map[string]string) bool {
		return slices.ContainsFunc(seen.Workloads, func(w *model.Workload) bool { return model.Matches(selector, w.Labels) })
	}) {
		run.gateway(&g)
	}
	run.delta.Source, run.delta.Full = imagined, true
	return []model.Delta{files, run.delta}
}

// network is the first address that is given to a workload, of each family.
func (s Settings) network() (out []netip.Addr) {
	for _, f := range s.families() {
		first := netip.AddrFrom4([4]byte{10, 244, 0, 2})
		if f == 6 {
			first = netip.MustParseAddr("fd00:10:244::2")
		}
		out = append(out, first)
	}
	return out
}

// imaginary are workloads at addresses that are counted up, one of each family.
type imaginary struct {
	engine string
	next   []netip.Addr
	known  map[string][]netip.Addr
	delta  model.Delta
	pods   []*model.Workload
}

func (m *imaginary) process(p *model.Process, i int) {
	r := &wire.Replica{
		Name: fmt.Sprintf("%s-%d", p.Key.Name, i), App: p.Key.Name, Namespace: p.Key.Namespace, Labels: p.Labels, Annotations: p.Annotations,
		ServiceAccount: p.ServiceAccount, Engine: cmp.Or(p.Engine, m.engine), Ports: map[string]uint16{},
	}
	for _, port := range p.Ports {
		r.Ports[port.Name] = port.Port
	}
	m.add(r)
}

func (m *imaginary) gateway(g *model.ImpliedGateway) {
	m.add(&wire.Replica{
		Name: g.Name + "-0", App: g.Name, Namespace: g.Namespace, Labels: g.Labels, ServiceAccount: g.ServiceAccount, Engine: m.engine, Gateway: true,
	})
}

// pod makes a workload of a pod, or of one that a template makes.
func (m *imaginary) pod(p *model.Pod, s *model.Snapshot) {
	r := &wire.Replica{
		Name: p.Key.Name, App: p.Key.Name, Namespace: p.Key.Namespace, Labels: p.PodLabels, Annotations: p.PodAnnotations,
		ServiceAccount: "default", Engine: m.engine, Ports: map[string]uint16{},
	}
	if p.Template() {
		r.Name += "-0"
	}
	for i := range p.Containers {
		for _, port := range p.Containers[i].Ports {
			r.Ports[port.Name] = port.Port
		}
	}
	r.Gateway = slices.ContainsFunc(s.Gateways, func(g *model.Gateway) bool {
		return len(g.Selector) > 0 && model.Matches(g.Selector, p.PodLabels) && (g.Namespace == "" || g.Namespace == p.Key.Namespace)
	})
	m.add(r)
	m.pods = append(m.pods, m.delta.Upserts[len(m.delta.Upserts)-1].(*model.Workload))
}

func (m *imaginary) add(r *wire.Replica) {
	r.Cluster, r.Ready, r.Mesh = cluster, true, r.Engine != engineNone
	if r.Addresses = m.known[r.Namespace+"/"+r.Name]; r.Addresses == nil {
		r.Addresses = slices.Clone(m.next)
		m.after(r.Addresses)
	}
	w := process.Workload(r)
	w.Origin = model.Origin{Source: imagined}
	m.delta.Upserts = append(m.delta.Upserts, w)
}

// after counts on behind addresses that are taken.
func (m *imaginary) after(taken []netip.Addr) {
	for i := range m.next {
		if a := taken[i]; !a.Less(m.next[i]) {
			m.next[i] = a.Next()
		}
	}
}
