package fleet

import (
	"cmp"
	"slices"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// TypeStatus is how far a proxy is with one type of resource.
type TypeStatus struct {
	Sent     int `json:"sent"`
	Acked    int `json:"acked"`
	Rejected int `json:"rejected"`
	Bytes    int `json:"bytes"`
	// Error is the rejections that stand: of resources of which no later version
	// was taken.
	Error string `json:"error,omitempty"`
}

// ProxyStatus is one proxy as `weft status` shows it.
type ProxyStatus struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Namespace string    `json:"namespace"`
	Workload  string    `json:"workload"`
	Type      string    `json:"type"`
	Engine    string    `json:"engine"`
	Address   string    `json:"address"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	// Synced: everything has been sent and answered, nothing rejected.
	Synced  bool                  `json:"synced"`
	Version uint64                `json:"version"`
	Types   map[string]TypeStatus `json:"types,omitempty"`
}

// Status lists all proxies that are connected, or should be.
func (f *Fleet) Status() []ProxyStatus {
	seen := map[model.Key]bool{}
	out := []ProxyStatus{}
	f.mu.Lock()
	for _, p := range f.proxiesLocked() {
		seen[p.identity] = true
		out = append(out, p.status())
	}
	f.mu.Unlock()
	if idx := f.index.Load(); idx != nil {
		for _, w := range idx.Snapshot.Workloads {
			if !seen[w.Key] && w.TokenHash != "" && w.Engine != engineNone {
				out = append(out, missing(w))
			}
		}
	}
	slices.SortFunc(out, func(a, b ProxyStatus) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// engineNone is the engine of a workload without a proxy.
const engineNone = "none"

// missing is the status of a proxy that should be connected.
func missing(w *model.Workload) ProxyStatus {
	st := ProxyStatus{Name: w.Name, Namespace: w.Namespace, Workload: w.App, Engine: w.Engine, Type: string(wire.Sidecar)}
	if w.Gateway {
		st.Type = string(wire.Router)
	}
	if len(w.Addresses) > 0 {
		st.Address = w.Addresses[0].String()
	}
	return st
}

func (p *session) status() ProxyStatus {
	st := ProxyStatus{
		ID: p.id, Name: p.proxy.ID.Name, Namespace: p.proxy.ID.Namespace, Workload: p.proxy.Meta.WorkloadName,
		Type: string(p.proxy.ID.Type), Engine: p.proxy.Engine(), Address: p.proxy.ID.IP,
		Connected: true, Since: p.since, Types: map[string]TypeStatus{},
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cur := p.state.Load()
	st.Version = p.settled
	st.Synced = cur != nil && p.settled == cur.state.Version
	for url, t := range p.types {
		st.Types[url] = *t
		st.Synced = st.Synced && t.Error == ""
	}
	return st
}
