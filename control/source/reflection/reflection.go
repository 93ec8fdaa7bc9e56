// Package reflection is the source of the descriptors that gRPC servers tell by reflection
// (grpc.reflection.v1, else v1alpha), for the Transcodings that ask for them: anew every minute, or as the
// Transcoding says, and the last ones stay when a server cannot be asked or says what makes no sense. What is
// known is saved, so that a control plane that starts does not take methods from proxies.
//
// Servers are asked in plain text: at the address that the Transcoding names, or else at the addresses of the service's
// instances, one after another. An instance that takes nothing but mutual TLS does not answer.
package reflection

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
)

// CodeFetch is the code of Findings about descriptors that cannot be had.
const CodeFetch = "WEFT0440"

// Name is the source's name.
const Name = "reflection"

// Snapshots is where the Transcodings come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Options of a Source.
type Options struct {
	Snapshots Snapshots
	// Dir is where what is known is saved; empty: nowhere.
	Dir string
	Log *slog.Logger
}

// Source asks servers. Make one with New.
type Source struct {
	opts    Options
	log     *slog.Logger
	results chan result
	wg      sync.WaitGroup

	// The rest belongs to Run.
	sets map[model.Key]*set
}

// set is what is known for one Transcoding.
type set struct {
	spec   *model.Transcoding // nil: saved, and not seen yet
	stop   context.CancelFunc
	host   string
	known  *model.Descriptors // nil: nothing yet
	failed string
}

type result struct {
	of    *model.Transcoding
	found *found
	err   error
}

// New returns a source; nobody is asked before Run.
func New(o Options) *Source {
	return &Source{opts: o, log: o.Log.With("component", "source/reflection"), results: make(chan result), sets: map[model.Key]*set{}}
}

// Name implements source.Source.
func (*Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	first := model.Delta{Source: Name, Full: true, Upserts: s.load(), Why: "saved descriptors"}
	if err := source.Send(ctx, out, first); err != nil {
		return err
	}
	for {
		changed := s.opts.Snapshots.Changed()
		if d, any := s.reconcile(ctx); any {
			if err := source.Send(ctx, out, d); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case r := <-s.results:
			if d, any := s.take(r); any {
				if err := source.Send(ctx, out, d); err != nil {
					return err
				}
			}
		}
	}
}

// reconcile follows the Transcodings of the snapshot, and no others.
func (s *Source) reconcile(ctx context.Context) (d model.Delta, differs bool) {
	snap := s.opts.Snapshots.Load()
	if snap == nil {
		return d, false
	}
	wanted := map[model.Key]bool{}
	for _, t := range snap.Transcodings {
		if t.GRPC == nil || t.GRPC.Reflection == nil {
			continue
		}
		wanted[t.Key] = true
		k := s.sets[t.Key]
		if k != nil && k.spec == t {
			continue
		}
		if k == nil || k.host != t.Host {
			if k != nil {
				k.end()
				d.Deletes = append(d.Deletes, t.Descriptors())
			}
			k = &set{host: t.Host}
			s.sets[t.Key] = k
		}
		k.end()
		k.spec = t
		var own context.Context
		own, k.stop = context.WithCancel(ctx)
		s.wg.Go(func() { s.follow(own, t) })
	}
	for key, k := range s.sets {
		if !wanted[key] {
			k.end()
			delete(s.sets, key)
			d.Deletes = append(d.Deletes, model.Key{Kind: model.KindDescriptors, Namespace: key.Namespace, Name: key.Name})
		}
	}
	if len(d.Deletes) == 0 {
		return d, false
	}
	s.save()
	d.Source, d.Findings, d.Why = Name, s.findings(), "descriptors are asked for no more"
	return d, true
}

func (k *set) end() {
	if k.stop != nil {
		k.stop()
	}
}

// follow asks for one Transcoding until ctx ends.
func (s *Source) follow(ctx context.Context, t *model.Transcoding) {
	var wait backoff.Backoff
	rest := time.NewTimer(0)
	defer rest.Stop()
	for turn := 0; ctx.Err() == nil; turn++ {
		r := result{of: t}
		r.found, r.err = ask(ctx, t, s.opts.Snapshots.Load(), turn)
		select {
		case s.results <- r:
		case <-ctx.Done():
			return
		}
		if r.err != nil {
			_ = wait.Wait(ctx)
			continue
		}
		wait.Reset()
		rest.Reset(t.GRPC.Reflection.Every)
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
	}
}

// take notes what came of a question.
func (s *Source) take(r result) (d model.Delta, differs bool) {
	k := s.sets[r.of.Key]
	if k == nil || k.spec != r.of {
		return d, false // of one that has ended
	}
	d.Source, d.Why = Name, "descriptors of "+r.of.Host
	if r.err != nil {
		if k.failed == r.err.Error() {
			return d, false
		}
		k.failed = r.err.Error()
		s.log.Warn("no descriptors", "service", r.of.Host, "error", r.err)
		d.Findings = s.findings()
		return d, true
	}
	same := k.known != nil && bytes.Equal(k.known.Set, r.found.set) && slices.Equal(k.known.Services, r.found.services)
	if same && k.failed == "" {
		return d, false
	}
	k.failed = ""
	if !same {
		k.known = describe(r.of.Descriptors(), r.found)
		d.Upserts = []model.Object{k.known}
		s.save()
	}
	d.Findings = s.findings()
	return d, true
}

func describe(key model.Key, f *found) *model.Descriptors {
	h := xxhash.Sum64String(string(f.set) + strings.Join(f.services, " "))
	return &model.Descriptors{Meta: model.Meta{Key: key, Origin: model.Origin{Source: Name}, Hash: h}, Set: f.set, Services: f.services}
}

// findings is what cannot be had.
func (s *Source) findings() []model.Finding {
	var out []model.Finding
	for _, k := range s.sets {
		if k.failed == "" || k.spec == nil {
			continue
		}
		f := model.Finding{
			Code: CodeFetch, Severity: model.Warning, Object: k.spec.Key, Field: "spec.grpc.reflection", Origin: k.spec.At("spec.grpc.reflection"),
			Message: "the descriptors of " + k.spec.Host + " cannot be asked for, the last ones stay: " + k.failed,
			Remedy:  "register gRPC's reflection service in the server, name an address where it can be reached, or write descriptorSet",
		}
		if k.known == nil {
			f.Severity = model.Error
			f.Message = "the descriptors of " + k.spec.Host + " cannot be asked for, and requests of HTTP are not made gRPC: " + k.failed
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b model.Finding) int { return strings.Compare(a.Object.String(), b.Object.String()) })
	return out
}

// file is the name of the file in Options.Dir.
const file = "descriptors.json"

// saved is one set in it.
type saved struct {
	Transcoding model.Key `json:"transcoding"`
	Host        string    `json:"host"`
	Services    []string  `json:"services"`
	Set         []byte    `json:"set"`
}

// load reads what was saved. A file that cannot be read is as good as none.
func (s *Source) load() (out []model.Object) {
	if s.opts.Dir == "" {
		return nil
	}
	raw, err := os.ReadFile(filepath.Join(s.opts.Dir, file))
	var list []saved
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the saved descriptors cannot be read", "error", err)
	}
	for _, x := range list {
		key := model.Key{Kind: model.KindDescriptors, Namespace: x.Transcoding.Namespace, Name: x.Transcoding.Name}
		d := describe(key, &found{x.Set, x.Services})
		s.sets[x.Transcoding] = &set{host: x.Host, known: d}
		out = append(out, d)
	}
	return out
}

// save writes all that is known, whole or not at all.
func (s *Source) save() {
	if s.opts.Dir == "" {
		return
	}
	list := []saved{}
	for _, key := range slices.SortedFunc(maps.Keys(s.sets), func(a, b model.Key) int { return strings.Compare(a.String(), b.String()) }) {
		if k := s.sets[key]; k.known != nil {
			list = append(list, saved{key, k.host, k.known.Services, k.known.Set})
		}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		panic("BUG: saved descriptors: " + err.Error())
	}
	name := filepath.Join(s.opts.Dir, file)
	if err = os.WriteFile(name+".new", raw, 0o600); err == nil {
		err = os.Rename(name+".new", name)
	}
	if err != nil {
		s.log.Warn("descriptors cannot be saved", "error", err)
	}
}
