package config

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// extensionNeed is a filter that a listener wants by name. now: it goes live
// with the default at once.
type extensionNeed struct {
	need
	now bool
}

// extensionCell is a name of extension discovery. Its places are kept as long
// as some listener refers to it.
type extensionCell struct {
	refs   int
	body   *anypb.Any // nil: none came yet
	places map[extension]place
}

// extensionOf gives back the place that is like x, which is x if there was none.
func (s *Store) extensionOf(e extension, x place) place {
	s.mu.Lock()
	defer s.mu.Unlock()
	cell := s.extensionLocked(e.FilterName)
	if old := cell.places[e]; old != nil {
		return old
	}
	cell.places[e] = x
	if cell.body != nil {
		set, err := x.prepare(cell.body)
		if err != nil {
			s.opt.Log.Warn("extension: what has come by that name does not fit a new listener", "name", e.FilterName, "error", err)
		} else {
			set()
		}
	}
	return x
}

func (s *Store) extensionLocked(name string) *extensionCell {
	c := s.extensions[name]
	if c == nil {
		c = &extensionCell{places: map[extension]place{}}
		s.extensions[name] = c
	}
	return c
}

// countExtension counts what happened to a name, for each kind of place that it has.
func (s *Store) countExtension(name string, c *extensionCell, stat string) {
	counted := map[string]bool{}
	for e := range c.places {
		if !counted[e.kind] {
			counted[e.kind] = true
			s.opt.Decoder.FilterStats.Counter("extension_config_discovery", e.kind+"."+name, stat).Add(1)
		}
	}
}

func (s *Store) refExtensions(needs []extensionNeed) {
	for _, n := range needs {
		cell := s.extensionLocked(n.name)
		if cell.refs++; cell.refs == 1 {
			s.subscribe(wire.TypeExtension, n.name)
		}
		if cell.body == nil && !n.now {
			s.await(waitKey{wire.TypeExtension, n.name}, n.timeout, nil)
		}
	}
}

func (s *Store) unrefExtensions(needs []extensionNeed) {
	for _, n := range needs {
		cell := s.extensionLocked(n.name)
		if cell.refs--; cell.refs == 0 {
			delete(s.extensions, n.name)
			s.arrived(waitKey{wire.TypeExtension, n.name})
			s.unsubscribe(wire.TypeExtension, n.name)
		}
	}
}

func (s *Store) haveExtensions(needs []extensionNeed) bool {
	for _, n := range needs {
		if !n.now && s.extensionLocked(n.name).body == nil && !s.gaveUp(waitKey{wire.TypeExtension, n.name}) {
			return false
		}
	}
	return true
}

func (s *Store) applyExtensions(u xds.Update) (rejected []xds.Rejection) {
	for _, r := range u.Set {
		if err := s.applyExtension(r); err != nil {
			s.mu.Lock()
			if cell := s.extensions[r.Name]; cell != nil && cell.body == nil {
				s.noSuch(waitKey{wire.TypeExtension, r.Name}) // the listener goes on, as in Envoy
			}
			s.mu.Unlock()
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range u.Removed {
		cell := s.extensions[n]
		if cell == nil {
			continue
		}
		cell.body = nil
		for _, x := range cell.places {
			x.reset()
		}
		s.noSuch(waitKey{wire.TypeExtension, n})
	}
	s.progressLocked()
	return rejected
}

// applyExtension puts a configuration into effect at all places that it is for, or at none.
func (s *Store) applyExtension(r xds.Resource) error {
	m := &corev3.TypedExtensionConfig{}
	if err := open(r.Body, m); err != nil {
		return err
	}
	if m.Name != r.Name {
		return at(fmt.Errorf("is %q, the resource's is %q", m.Name, r.Name), "name")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	cell := s.extensions[r.Name]
	if cell == nil {
		return nil // unsubscribed meanwhile
	}
	sets := make([]func(), 0, len(cell.places))
	for _, x := range cell.places {
		set, err := x.prepare(m.TypedConfig)
		if err != nil {
			s.countExtension(r.Name, cell, "config_fail")
			return at(err, "typed_config")
		}
		sets = append(sets, set)
	}
	for _, set := range sets {
		set()
	}
	cell.body = m.TypedConfig
	s.countExtension(r.Name, cell, "config_reload")
	s.arrived(waitKey{wire.TypeExtension, r.Name})
	s.activity.Add(1)
	return nil
}
