package fleet

import (
	"cmp"
	"maps"
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
	// Causes are the objects that the refused resources were made of; empty with an Error:
	// it is not known.
	Causes []model.Key `json:"causes,omitempty"`
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
	Synced  bool   `json:"synced"`
	Version uint64 `json:"version"`
	// Holds is the newest version of the mesh that it has whole, whether or not that
	// brought anything for it: at least Version.
	Holds uint64                `json:"holds"`
	Types map[string]TypeStatus `json:"types,omitempty"`
}

// Status lists all proxies that are connected, or should be.
func (f *Fleet) Status() []ProxyStatus {
	seen := map[model.Key]bool{}
	out := []ProxyStatus{}
	f.mu.Lock()
	sessions := f.proxiesLocked()
	f.mu.Unlock()
	idx := f.index.Load()
	for _, p := range sessions {
		seen[p.identity] = true
		st := p.status()
		p.accuse(idx, &st)
		if i := slices.IndexFunc(out, st.same); p.proxy.Proxyless() && i >= 0 {
			out[i].join(&st)
		} else {
			out = append(out, st)
		}
	}
	if idx != nil {
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

// Member is a connected proxy as its node describes it.
type Member struct {
	ID   wire.NodeID       `json:"id"`
	Meta wire.NodeMetadata `json:"metadata"`
	// OnDemand: it asks for what it uses: names by type.
	OnDemand bool                `json:"onDemand,omitempty"`
	Asked    map[string][]string `json:"asked,omitempty"`
}

// Members lists all connected proxies.
func (f *Fleet) Members() []Member {
	f.mu.Lock()
	sessions := f.proxiesLocked()
	f.mu.Unlock()
	out := make([]Member, len(sessions))
	for i, p := range sessions {
		p.building.Lock()
		m := Member{ID: p.proxy.ID, Meta: p.proxy.Meta, OnDemand: p.demand != nil, Asked: map[string][]string{}}
		for url, names := range p.asked {
			m.Asked[url] = slices.Sorted(maps.Keys(names))
		}
		p.building.Unlock()
		out[i] = m
	}
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

// same tells whether two are of one workload.
func (s *ProxyStatus) same(x ProxyStatus) bool { return s.Name == x.Name && s.Namespace == x.Namespace }

// join adds another stream of the same program.
func (s *ProxyStatus) join(x *ProxyStatus) {
	s.Synced = s.Synced && x.Synced
	s.Version, s.Holds = min(s.Version, x.Version), min(s.Holds, x.Holds)
	for url, t := range x.Types {
		have := s.Types[url]
		s.Types[url] = TypeStatus{
			Sent: have.Sent + t.Sent, Acked: have.Acked + t.Acked, Rejected: have.Rejected + t.Rejected,
			Bytes: have.Bytes + t.Bytes, Error: cmp.Or(have.Error, t.Error), Causes: slices.Concat(have.Causes, t.Causes),
		}
	}
}

func (p *session) status() ProxyStatus {
	st := ProxyStatus{
		ID: p.id, Name: p.proxy.ID.Name, Namespace: p.proxy.ID.Namespace, Workload: p.proxy.Meta.WorkloadName,
		Type: string(p.proxy.ID.Type), Engine: p.proxy.Engine(), Address: p.proxy.ID.IP,
		Connected: true, Since: p.since, Types: map[string]TypeStatus{},
	}
	if p.proxy.Proxyless() {
		st.Engine = engineNone
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	cur := p.state.Load()
	st.Version, st.Holds = p.settled, p.holdsLocked()
	st.Synced = cur != nil && p.settled >= cur.woken
	for url, t := range p.types {
		st.Types[url] = *t
		st.Synced = st.Synced && t.Error == ""
	}
	return st
}

// accuse adds to a status of which objects the refused resources were made.
func (p *session) accuse(idx *index, st *ProxyStatus) {
	p.mu.Lock()
	faults := p.standingLocked()
	p.mu.Unlock()
	for _, x := range faults {
		t := st.Types[x.url]
		for k := range p.causes(idx, x.url, x.fault) {
			if !slices.Contains(t.Causes, k) {
				t.Causes = append(t.Causes, k)
			}
		}
		slices.SortFunc(t.Causes, compareKeys)
		st.Types[x.url] = t
	}
}
