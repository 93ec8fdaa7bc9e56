package http

import (
	"slices"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// Missing implements filter.Stream.
func (s *call) Missing() (m filter.Missing) {
	switch {
	case s.entry != nil:
		if s.entry.Kind() == route.Forwards && s.target.Cluster != "" && s.m.cfg.Clusters.Get(s.target.Cluster) == nil {
			m.Cluster = s.target.Cluster
		}
	case s.table == nil && s.m.cfg.Scoped != nil:
		_, m.Routes = s.m.cfg.Scoped(s.req)
	case s.table != nil && s.table.Demand() && !s.table.Knows(s.req.Authority):
		m.Hosts = s.table.Name()
	}
	return m
}

// Restart implements filter.Stream.
func (s *call) Restart(f filter.HTTPFilter) {
	i := s.index(f)
	if i < 0 || s.over || s.routed || s.local {
		return
	}
	filters, l, ok := s.admitUpgrade()
	if !ok {
		s.Reply(l)
		return
	}
	s.relink(i, filters)
	s.resumeRequest(i)
}

// relink makes the chain after filter i what the route wants: filters that stay
// have seen nothing yet.
func (s *call) relink(i int, filters []NamedFilter) {
	behind := s.links[i+1:]
	now := s.links[: i+1 : i+1]
	at := 0
	for at < len(filters) && filters[at].Name != s.links[i].name {
		at++
	}
	for _, nf := range filters[min(at+1, len(filters)):] {
		had := slices.IndexFunc(behind, func(l link) bool { return l.name == nf.Name })
		off, said := s.entry.FilterDisabled(s.target, nf.Name)
		if off || nf.Disabled && !said {
			continue
		}
		if had >= 0 {
			now = append(now, behind[had])
			behind[had].name = "" // taken
			continue
		}
		if f := nf.Factory.New(s); f != nil {
			now = append(now, link{f: f, name: nf.Name})
		}
	}
	for _, l := range behind {
		if l.name != "" {
			l.f.Done(s)
		}
	}
	s.links = now
}
