package offline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

// Proxy is one that there is, or would be.
type Proxy struct {
	scope.Proxy
	// Asked are the names that it asks for, when it is on demand.
	Asked translate.Asked
}

// Name is "name.namespace", as all commands call a proxy.
func (p *Proxy) Name() string { return p.ID.Name + "." + p.Namespace() }

const gatewayPrefix = "gateway/"

// proxies are the known ones and those of all other workloads that have one.
func (m *Mesh) proxies() []Proxy {
	var out []Proxy
	known := map[string]bool{}
	for _, p := range m.parts.Proxies {
		known[p.ID.Namespace+"/"+p.ID.Name] = true
		p.Workload = m.Index.Workload(p.ID.Namespace, p.ID.Name)
		out = append(out, p)
	}
	for _, w := range m.Snapshot.Workloads {
		if w.Mesh && w.Engine != engineNone && w.Key.Kind == model.KindWorkload && !known[w.Namespace+"/"+w.Name] {
			out = append(out, m.Of(w))
		}
	}
	slices.SortFunc(out, func(a, b Proxy) int {
		return cmp.Or(cmp.Compare(a.Namespace(), b.Namespace()), cmp.Compare(a.ID.Name, b.ID.Name))
	})
	return out
}

// Known is the proxy of a workload: the one that is there, or else as Of has it.
func (m *Mesh) Known(w *model.Workload) Proxy {
	for _, p := range m.Proxies {
		if p.ID.Name == w.Name && p.Namespace() == w.Namespace {
			return p
		}
	}
	return m.Of(w)
}

// Of is the proxy of a workload.
func (m *Mesh) Of(w *model.Workload) Proxy {
	p := scope.Proxy{
		ID: wire.NodeID{Type: wire.Sidecar, Name: w.Name, Namespace: w.Namespace},
		Meta: wire.NodeMetadata{
			Name: w.Name, Namespace: w.Namespace, WorkloadName: w.App, ServiceAccount: w.ServiceAccount, ClusterID: w.Cluster,
			Labels: w.Labels, Engine: cmp.Or(w.Engine, m.parts.Engine),
		},
		Workload: w,
	}
	if len(w.Addresses) > 0 {
		p.ID.IP = w.Addresses[0].String()
	}
	if w.Gateway {
		p.ID.Type = wire.Router
	}
	return Proxy{Proxy: m.Index.Layout(p, m.parts.Mode == wire.ModeOnDemand)}
}

// Find returns the proxies that a name means: "workload.namespace", where the workload
// is an instance ("reviews-v1-0"), or what it is an instance of ("reviews-v1");
// "namespace/workload"; or "gateway/name", which may also be a Gateway's own name.
// Never both none and no error; the error lists what there is.
func (m *Mesh) Find(name string) ([]Proxy, error) {
	for _, matches := range []func(*Proxy) bool{
		func(p *Proxy) bool { return p.calls(name, p.ID.Name) },
		func(p *Proxy) bool { return p.calls(name, p.App()) },
		func(p *Proxy) bool { return p.Gateway() && m.serves(p, name) },
	} {
		var out []Proxy
		for i := range m.Proxies {
			if matches(&m.Proxies[i]) {
				out = append(out, m.Proxies[i])
			}
		}
		if len(out) > 0 {
			return out, nil
		}
	}
	return nil, fmt.Errorf("no proxy %q: %s", name, m.known())
}

// App is the Process or Deployment whose instance the proxy serves.
func (p *Proxy) App() string {
	if p.Workload != nil {
		return p.Workload.App
	}
	return p.Meta.WorkloadName
}

// calls tells whether people call the proxy so whose name is own.
func (p *Proxy) calls(name, own string) bool {
	return own != "" && (name == p.Namespace()+"/"+own || name == own+"."+p.Namespace() || p.Gateway() && name == gatewayPrefix+own)
}

// serves tells whether a name is that of a Gateway that picks the proxy.
func (m *Mesh) serves(p *Proxy, name string) bool {
	short, ok := strings.CutPrefix(name, gatewayPrefix)
	return ok && slices.ContainsFunc(scope.Build(m.Index, p.Proxy).Gateways, func(g *model.Gateway) bool {
		return g.Key.Name == short || g.Of.Name == short && g.Of.Name != ""
	})
}

// known lists what there is, each workload by what it is an instance of.
func (m *Mesh) known() string {
	var names []string
	for i := range m.Proxies {
		p := &m.Proxies[i]
		names = append(names, cmp.Or(p.App(), p.ID.Name)+"."+p.Namespace())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	const most = 30
	if n := len(names); n > most {
		names = append(names[:most:most], fmt.Sprintf("%d more", n-most))
	}
	if len(names) == 0 {
		return "there is none: write a Process for a workload, or say who the proxy is by --node-id"
	}
	return "there are " + strings.Join(names, ", ")
}

// FromNode is a proxy that is who its node says, as one that connects in plain text
// is taken for. The mesh's workload of that name, if there is one, counts for more.
func (m *Mesh) FromNode(id wire.NodeID, meta wire.NodeMetadata) Proxy {
	if meta.Namespace != "" {
		id.Namespace = meta.Namespace
	}
	p := scope.Proxy{ID: id, Meta: meta, Workload: m.Index.Workload(id.Namespace, id.Name)}
	return Proxy{Proxy: m.Index.Layout(p, m.parts.Mode == wire.ModeOnDemand)}
}
