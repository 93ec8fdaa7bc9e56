package fleet

import (
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/control/translate"
)

// shared are the resources that sessions hold: equal ones of different proxies
// are one object, which goes with the last state that has it. Fleet.mu guards it.
type shared map[sharedKey]*counted

type sharedKey struct{ url, name, version string }

// counted is a resource and the number of states that have it.
type counted struct {
	resource *serve.Resource
	states   int
}

// sets makes the sets of a state of resources, known ones where there are. They
// are not counted before hold.
func (s shared) sets(r *translate.Resources) map[string]*serve.Set {
	out := make(map[string]*serve.Set, len(r.ByType))
	for url, list := range r.ByType {
		mine := make([]*serve.Resource, len(list))
		for i, x := range list {
			if known := s[sharedKey{url, x.Name, x.Version}]; known != nil {
				mine[i] = known.resource
			} else {
				mine[i] = &serve.Resource{Name: x.Name, Version: x.Version, Body: x.Body}
			}
		}
		out[url] = serve.NewSet(mine)
	}
	return out
}

// hold counts a state that has become a session's.
func (s shared) hold(state *serve.State) {
	for url, set := range state.Sets {
		for _, r := range set.List() {
			key := sharedKey{url, r.Name, r.Version}
			c := s[key]
			if c == nil {
				c = &counted{resource: r}
				s[key] = c
			}
			c.states++
		}
	}
}

// release is the end of a state that was held.
func (s shared) release(state *serve.State) {
	for url, set := range state.Sets {
		for _, r := range set.List() {
			key := sharedKey{url, r.Name, r.Version}
			c := s[key]
			if c.states--; c.states == 0 {
				delete(s, key)
			}
		}
	}
}
