package registry

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/base/wholefile"
	"github.com/weftmesh/weft/control/model"
)

// file is the name of the file in Options.Dir.
const file = "registries.json"

// state is what the file has: registries, and the ports that services have had.
type state struct {
	Registries []saved
	Ports      []savedPorts
}

type savedPorts struct {
	Space, Host string
	Ports       map[uint16]model.Protocol
}

// saved is what is known of one registry, without credentials.
type saved struct {
	Spec     model.Registry
	Success  time.Time
	Services []savedService
}

type savedService struct {
	Service
	EmptySince time.Time
}

// load takes over what was saved. A file that cannot be read is as good as none.
func (s *Source) load() map[hostKey]bool {
	dirty := map[hostKey]bool{}
	if s.opts.Dir == "" {
		return dirty
	}
	raw, err := os.ReadFile(filepath.Join(s.opts.Dir, file))
	var st state
	if err == nil {
		err = json.Unmarshal(raw, &st)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("the saved services of registries cannot be read", "error", err)
		}
		return dirty
	}
	for _, p := range st.Ports {
		k := hostKey{p.Space, p.Host}
		s.hosts[k], dirty[k] = &host{ports: p.Ports}, true
	}
	for i := range st.Registries {
		one := &st.Registries[i]
		f := newFollower(&one.Spec)
		f.state, f.success = stale, one.Success
		for _, known := range one.Services {
			f.services[known.Name] = &service{Service: known.Service, emptySince: known.EmptySince}
		}
		s.followers[f.spec.Key] = f
		s.remake(f, dirty)
	}
	return dirty
}

// save writes all that is known, whole or not at all.
func (s *Source) save() {
	if s.opts.Dir == "" || !s.unsaved {
		return
	}
	s.unsaved = false
	var st state
	for k, h := range s.hosts {
		if len(h.ports) > 0 {
			st.Ports = append(st.Ports, savedPorts{k.space, k.host, h.ports})
		}
	}
	for _, f := range s.followers {
		spec := *f.spec
		spec.Password, spec.Token = nil, nil
		one := saved{Spec: spec, Success: f.success}
		for _, known := range f.services {
			one.Services = append(one.Services, savedService{known.Service, known.emptySince})
		}
		st.Registries = append(st.Registries, one)
	}
	raw, err := json.Marshal(st)
	if err == nil {
		err = wholefile.Write(filepath.Join(s.opts.Dir, file), raw, 0o600)
	}
	if err != nil {
		s.log.Warn("the services of registries cannot be saved", "error", err)
	}
}
