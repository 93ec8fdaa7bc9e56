package config

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// extensionNeed is a filter that a listener wants by name. now: it goes live
// with the default at once.
type extensionNeed struct {
	need
	now bool
}

// extensionCell is a name of extension discovery. Its filters are kept as long
// as some listener refers to it.
type extensionCell struct {
	refs         int
	body         *anypb.Any // nil: none came yet
	filters      map[extension]*discovered
	reload, fail *filter.Counter
}

// extensionOf gives a place in a filter chain its filter by name.
func (s *Store) extensionOf(e extension, parse parseExtension, fallback filter.HTTPFactory) *discovered {
	s.mu.Lock()
	defer s.mu.Unlock()
	cell := s.extensionLocked(e.FilterName)
	x := cell.filters[e]
	if x != nil {
		return x
	}
	x = &discovered{parse: parse, fallback: fallback}
	x.set(fallback)
	cell.filters[e] = x
	if cell.body != nil {
		f, err := parse(cell.body)
		if err != nil {
			s.opt.Log.Warn("extension: what has come by that name does not fit a new listener", "name", e.FilterName, "error", err)
		} else {
			x.set(f)
		}
	}
	return x
}

func (s *Store) extensionLocked(name string) *extensionCell {
	c := s.extensions[name]
	if c == nil {
		st := s.opt.Decoder.FilterStats
		c = &extensionCell{
			filters: map[extension]*discovered{},
			reload:  st.Counter("extension_config_discovery", "http_filter."+name, "config_reload"),
			fail:    st.Counter("extension_config_discovery", "http_filter."+name, "config_fail"),
		}
		s.extensions[name] = c
	}
	return c
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
		for _, x := range cell.filters {
			x.set(x.fallback)
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
	made := make(map[*discovered]filter.HTTPFactory, len(cell.filters))
	for _, x := range cell.filters {
		f, err := x.parse(m.TypedConfig)
		if err != nil {
			cell.fail.Add(1)
			return at(err, "typed_config")
		}
		made[x] = f
	}
	for x, f := range made {
		x.set(f)
	}
	cell.body = m.TypedConfig
	cell.reload.Add(1)
	s.arrived(waitKey{wire.TypeExtension, r.Name})
	s.activity.Add(1)
	return nil
}
