// Package module is the source of WebAssembly modules: it fetches those that plug-ins and protocols name (from image registries,
// servers and files) and hands them on, so that no proxy needs a registry or its secrets. What was fetched is kept on
// disk; one that cannot be fetched is tried again, and what there was before stays.
//
// It compiles nothing and judges no plug-in; what proxies get meanwhile, control/translate says.
package module

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
)

// Name is the source's name.
const Name = "module"

// CodeFetch is the code of Findings about modules that cannot be fetched.
const CodeFetch = "WEFT0193"

const (
	// again is how often a module is looked for that may be another one (imagePullPolicy Always).
	again        = 5 * time.Minute
	firstRetry   = time.Second
	longestRetry = time.Minute
	timeout      = 2 * time.Minute
)

// Snapshots is where the plug-ins come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Source fetches modules. Make one with New.
type Source struct {
	snapshots Snapshots
	dir       string
	log       *slog.Logger
	client    *http.Client

	wg      sync.WaitGroup
	results chan result
	known   map[model.ModuleRef]*entry // by what identifies it: see identity
}

// entry is what is known of one module.
type entry struct {
	code   []byte
	due    time.Time
	busy   bool
	failed string
	retry  backoff.Backoff
	users  []user
}

type user struct {
	of    *model.Meta
	field string
}

type result struct {
	ref  model.ModuleRef
	code []byte
	err  error
}

// New returns a source that keeps what it fetches in dir; "": nowhere.
func New(s Snapshots, dir string, log *slog.Logger) *Source {
	if dir != "" {
		dir = filepath.Join(dir, "modules")
	}
	return &Source{
		snapshots: s, dir: dir, log: log.With("component", "source/module"), client: &http.Client{Timeout: timeout},
		results: make(chan result), known: map[model.ModuleRef]*entry{},
	}
}

// Name implements source.Source.
func (*Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	sent := false
	for {
		changed := s.snapshots.Changed()
		different := s.look(ctx, timer)
		if different || !sent {
			if err := source.Send(ctx, out, s.delta()); err != nil {
				return err
			}
			sent = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-timer.C:
		case r := <-s.results:
			if s.take(r) {
				sent = false
			}
		}
	}
}

// identity is a reference without what says nothing of what it leads to.
func identity(r model.ModuleRef) model.ModuleRef {
	r.Field, r.Again = "", false
	return r
}

// look notes who asks for what, and fetches what is due. different: something is asked for no more, or was on disk.
func (s *Source) look(ctx context.Context, timer *time.Timer) (different bool) {
	snap := s.snapshots.Load()
	if snap == nil {
		timer.Reset(time.Hour)
		return false
	}
	repeat := map[model.ModuleRef]bool{}
	for _, e := range s.known {
		e.users = nil
	}
	ask := func(of *model.Meta, ref model.ModuleRef) {
		id := identity(ref)
		e := s.known[id]
		if e == nil {
			e = &entry{code: s.saved(id), retry: backoff.Backoff{Min: firstRetry, Max: longestRetry}}
			if e.code != nil && !ref.Again {
				e.due = time.Now().Add(1000 * time.Hour)
			}
			s.known[id], different = e, different || e.code != nil
		}
		e.users = append(e.users, user{of, ref.Field})
		repeat[id] = repeat[id] || ref.Again
	}
	for _, f := range snap.EnvoyFilters {
		for _, ref := range f.Modules {
			ask(&f.Meta, ref)
		}
	}
	for _, p := range snap.Protocols {
		if p.Module != nil {
			ask(&p.Meta, *p.Module)
		}
	}
	now := time.Now()
	next := now.Add(time.Hour)
	for id, e := range s.known {
		switch {
		case len(e.users) == 0 && !e.busy:
			delete(s.known, id)
			different = true
			continue
		case e.busy:
			continue
		case e.code != nil && !repeat[id] && e.failed == "":
			continue
		case !e.due.After(now):
			s.fetch(ctx, id, e, snap)
			continue
		}
		if e.due.Before(next) {
			next = e.due
		}
	}
	timer.Reset(next.Sub(now))
	return different
}

// fetch starts a fetch.
func (s *Source) fetch(ctx context.Context, id model.ModuleRef, e *entry, snap *model.Snapshot) {
	e.busy = true
	var auth []byte
	var err error
	if id.Secret != "" {
		auth, err = credentials(snap, id.Secret)
	}
	s.wg.Go(func() {
		r := result{ref: id, err: err}
		if err == nil {
			r.code, r.err = Fetch(ctx, s.client, id.URL, id.SHA256, auth)
		}
		select {
		case s.results <- r:
		case <-ctx.Done():
		}
	})
}

func credentials(snap *model.Snapshot, name string) ([]byte, error) {
	for _, x := range snap.Secrets {
		if x.Key.Kind == model.KindSecret && x.Key.Namespace+"/"+x.Key.Name == name {
			if len(x.Docker) == 0 {
				return nil, fmt.Errorf("the Secret %s has no .dockerconfigjson", name)
			}
			return x.Docker, nil
		}
	}
	return nil, fmt.Errorf("there is no Secret %s", name)
}

// take takes in what came of a fetch; different: it is not what there was.
func (s *Source) take(r result) (different bool) {
	e := s.known[r.ref]
	if e == nil {
		return false
	}
	e.busy = false
	if r.err != nil {
		s.log.Warn("a module cannot be fetched, it is tried again", "url", r.ref.URL, "error", r.err)
		different = e.failed != r.err.Error()
		e.failed, e.due = r.err.Error(), time.Now().Add(e.retry.Next())
		return different
	}
	different = e.failed != "" || !bytes.Equal(e.code, r.code)
	e.retry.Reset()
	e.code, e.failed, e.due = r.code, "", time.Now().Add(again)
	if err := s.save(r.ref, r.code); err != nil {
		s.log.Warn("a module cannot be kept on disk", "error", err)
	}
	return different
}

// delta is all that there is.
func (s *Source) delta() model.Delta {
	d := model.Delta{Source: Name, Full: true, Why: "modules of plug-ins"}
	for id, e := range s.known {
		if e.code != nil {
			m := &model.Module{URL: id.URL, SHA256: id.SHA256, Secret: id.Secret, Code: e.code}
			m.Key = model.Key{Kind: model.KindModule, Name: fileName(id)}
			m.Origin = model.Origin{Source: Name}
			m.Hash = xxhash.Sum64(e.code)
			d.Upserts = append(d.Upserts, m)
		}
		if e.failed == "" {
			continue
		}
		for _, u := range e.users {
			text := "cannot be fetched, which is tried again: " + e.failed
			if e.code != nil {
				text += "; what was fetched before stays"
			}
			d.Findings = append(d.Findings, model.Finding{
				Code: CodeFetch, Severity: model.Error, Object: u.of.Key, Origin: u.of.At(u.field), Field: u.field, Message: text,
				Remedy: "see that the address, the credentials and the SHA-256 are right",
			})
		}
	}
	model.SortObjects(d.Upserts)
	return d
}

func fileName(id model.ModuleRef) string {
	sum := sha256.Sum256([]byte(id.URL + " " + id.SHA256 + " " + id.Secret))
	return hex.EncodeToString(sum[:16]) + ".wasm"
}

// saved is what is on disk; nil: nothing.
func (s *Source) saved(id model.ModuleRef) []byte {
	if s.dir == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(s.dir, fileName(id)))
	if err != nil || check(b) != nil {
		return nil
	}
	return b
}

func (s *Source) save(id model.ModuleRef, code []byte) error {
	if s.dir == "" {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	next := filepath.Join(s.dir, fileName(id)+".new")
	if err := os.WriteFile(next, code, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(s.dir, fileName(id)))
}

// check tells whether it is a module.
func check(b []byte) error {
	if !bytes.HasPrefix(b, []byte("\x00asm")) {
		return errors.New("is no WebAssembly module")
	}
	return nil
}
