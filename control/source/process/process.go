// Package process is the source of running instances: it reads the state file
// that a supervisor writes (wire.ProcessState) and follows it.
//
// A file that is missing, torn or of another release changes nothing: the
// instances that were known stay.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/fswatch"
	"github.com/weftmesh/weft/wire"
)

// Source follows one state file.
type Source struct {
	path string
	log  *slog.Logger

	// The rest belongs to Run.
	raw    []byte
	known  map[model.Key]*model.Workload
	sent   bool
	failed string
}

// New returns a source for the state file at path, which need not exist yet.
func New(path string, log *slog.Logger) *Source {
	return &Source{path: path, log: log.With("component", "source/process"), known: map[model.Key]*model.Workload{}}
}

// Name implements source.Source.
func (s *Source) Name() string { return "process" }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	look := fswatch.Look{Dirs: []string{filepath.Dir(s.path)}}
	return fswatch.Run(ctx, s.log, func(fswatch.Notice) (fswatch.Look, error) {
		d, changed := s.read()
		if !changed {
			return look, nil
		}
		found := look
		found.Found = true
		return found, source.Send(ctx, out, d)
	})
}

// read looks at the file; changed is false when there is nothing to tell.
func (s *Source) read() (d model.Delta, changed bool) {
	raw, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) && s.raw == nil {
		// Nothing runs yet. Others wait for the first word of every source.
		if s.sent {
			return d, false
		}
		s.sent = true
		return model.Delta{Source: s.Name(), Full: true, Why: "no processes yet"}, true
	}
	if err == nil && s.raw != nil && bytes.Equal(raw, s.raw) {
		return d, false
	}
	var state wire.ProcessState
	if err == nil {
		state, err = wire.ParseProcessState(raw)
	}
	if err != nil {
		if msg := err.Error(); msg != s.failed {
			s.failed = msg
			s.log.Warn("the state of the processes cannot be read, the last one stays", "path", s.path, "error", err)
		}
		return d, false
	}
	s.raw, s.failed = raw, ""
	d = s.diff(state)
	if s.sent && len(d.Upserts)+len(d.Deletes) == 0 {
		return d, false
	}
	d.Full, s.sent = !s.sent, true
	return d, true
}

func (s *Source) diff(state wire.ProcessState) model.Delta {
	d := model.Delta{Source: s.Name()}
	next := make(map[model.Key]*model.Workload, len(state.Replicas))
	for i := range state.Replicas {
		w := Workload(&state.Replicas[i])
		w.Origin = model.Origin{Source: s.Name()}
		if next[w.Key] != nil {
			s.log.Warn("two instances have one name, the first counts", "instance", w.Key.String())
			continue
		}
		next[w.Key] = w
		if old := s.known[w.Key]; old == nil || old.Hash != w.Hash {
			d.Upserts = append(d.Upserts, w)
			d.Why = w.Key.Name + why(old, w)
		}
	}
	for k := range s.known {
		if next[k] == nil {
			d.Deletes = append(d.Deletes, k)
			d.Why = k.Name + " is gone"
		}
	}
	s.known = next
	return d
}

func why(old, w *model.Workload) string {
	switch {
	case old == nil:
		return " is new"
	case w.Ready && !old.Ready:
		return " is ready"
	case !w.Ready && old.Ready:
		return " is not ready"
	}
	return " changed"
}

// Workload converts one instance.
func Workload(r *wire.Replica) *model.Workload {
	w := &model.Workload{
		Name: r.Name, App: r.App, Namespace: r.Namespace, Cluster: r.Cluster, Network: r.Network,
		Addresses: r.Addresses, Labels: r.Labels, ServiceAccount: r.ServiceAccount, TrustDomain: r.TrustDomain,
		Locality: model.Locality{Region: r.Region, Zone: r.Zone, SubZone: r.SubZone}, Weight: r.Weight,
		Ports: r.Ports, Ready: r.Ready, Mesh: r.Mesh, Gateway: r.Gateway, Engine: r.Engine, TokenHash: r.TokenHash,
	}
	w.Key = model.Key{Kind: model.KindWorkload, Namespace: r.Namespace, Name: r.Name}
	w.Meta.Labels, w.Annotations, w.Created = r.Labels, r.Annotations, r.Started
	if w.ServiceAccount == "" {
		w.ServiceAccount = "default"
	}
	if w.App == "" {
		w.App = w.Name
	}
	w.Mesh = w.Mesh || r.Labels[wire.TLSModeLabel] == wire.TLSModeIstio
	if r.Inbound != nil {
		w.Inbound = make(map[uint16]model.InboundPort, len(r.Inbound))
		for port, in := range r.Inbound {
			w.Inbound[port] = model.InboundPort{Listen: in.Listen, Program: in.Program}
		}
	}
	if w.Locality == (model.Locality{}) {
		w.Locality = model.Locality(wire.LocalityOf(r.Labels))
	}
	w.Node = r.Labels[model.LabelNode]
	raw, err := json.Marshal(r)
	if err != nil {
		panic("BUG: a replica cannot be written as JSON: " + err.Error())
	}
	w.Hash = xxhash.Sum64(raw)
	return w
}
