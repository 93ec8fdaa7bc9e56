// Package trust is the source of what workloads' certificates are checked with: the
// bundle of the mesh's own authority, and those of other trust domains, which it fetches
// from the SPIFFE bundle endpoints that MeshConfig names (caCertificates[].spiffeBundleUrl),
// by the profile https_web of SPIFFE Federation.
//
// A bundle is fetched anew as often as it says of itself (spiffe_refresh_hint), else every
// five minutes. What was fetched last stays while that fails, which a Finding says, and is
// saved, so that a control plane that starts does not have proxies refuse good peers.
//
// It does not check a bundle's sequence number, and takes no keys for tokens from it.
package trust

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
)

// CodeFetch is the code of Findings about bundles that cannot be fetched.
const CodeFetch = "WEFT0455"

// Name is the source's name.
const Name = "trust"

// How often bundles are fetched: where they do not say it themselves, at most and at
// least; and again after a failure.
const (
	usualRefresh   = 5 * time.Minute // as SPIFFE Federation has it
	longestRefresh = time.Hour
	firstRetry     = time.Second
	longestRetry   = time.Minute
)

// Snapshots is where the MeshConfig comes from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Options of a Source.
type Options struct {
	Snapshots Snapshots
	// Own is the bundle of the mesh's own authority, in PEM.
	Own []byte
	// Dir is where fetched bundles are saved; empty: nowhere.
	Dir string
	// Transport fetches; nil: one that trusts what the machine trusts.
	Transport http.RoundTripper
	Log       *slog.Logger
}

// Source fetches bundles.
type Source struct {
	opts   Options
	log    *slog.Logger
	client *http.Client

	// The rest belongs to Run.
	bundles map[string]*bundle // by URL
	results chan result
	wg      sync.WaitGroup
}

// bundle is what is known of one endpoint.
type bundle struct {
	pem    string // last good
	due    time.Time
	busy   bool
	failed string // why the last fetch failed
	retry  backoff.Backoff
	fields []string // of the MeshConfig that name it
}

type result struct {
	url     string
	pem     string
	refresh time.Duration
	err     error
}

// New returns a source.
func New(o Options) *Source {
	transport := o.Transport
	if transport == nil {
		transport = secure()
	}
	return &Source{
		opts: o, log: o.Log.With("component", "source/trust"), client: &http.Client{Transport: transport, Timeout: fetchBound},
		bundles: map[string]*bundle{}, results: make(chan result),
	}
}

// Name implements source.Source.
func (s *Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	first := model.Delta{Source: Name, Full: true, Upserts: []model.Object{object(model.OwnBundle(), string(s.opts.Own))}, Why: "the mesh's authority"}
	for url, pem := range s.saved() {
		s.bundles[url] = &bundle{pem: pem}
		first.Upserts = append(first.Upserts, object(model.BundleFrom(url), pem))
	}
	if err := source.Send(ctx, out, first); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := s.opts.Snapshots.Changed()
		if err := s.look(ctx, out, timer); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-timer.C:
		case r := <-s.results:
			if err := s.take(ctx, out, r); err != nil {
				return err
			}
		}
	}
}

// look fetches what is due by the snapshot in force, and forgets what nobody names.
func (s *Source) look(ctx context.Context, out chan<- model.Delta, timer *time.Timer) error {
	snap := s.opts.Snapshots.Load()
	if snap == nil || snap.Mesh == nil {
		return nil
	}
	before := s.findings()
	s.wanted(snap.Mesh)
	now := time.Now()
	next := now.Add(longestRefresh)
	var gone []model.Key
	for url, b := range s.bundles {
		switch {
		case b.busy:
			continue
		case len(b.fields) == 0 && b.due.IsZero(): // saved, and not asked for yet
			b.due = now.Add(usualRefresh)
		case len(b.fields) == 0 && !b.due.After(now):
			delete(s.bundles, url)
			gone = append(gone, model.BundleFrom(url))
			continue
		case len(b.fields) > 0 && !b.due.After(now):
			s.fetch(ctx, url, b, snap.Mesh.TrustDomain)
			continue
		}
		if b.due.Before(next) {
			next = b.due
		}
	}
	timer.Reset(next.Sub(now))
	if len(gone) > 0 {
		s.save()
	}
	findings := s.findings()
	if len(gone) == 0 && slices.Equal(before, findings) {
		return nil
	}
	return source.Send(ctx, out, model.Delta{Source: Name, Deletes: gone, Findings: findings, Why: "trust bundles"})
}

// wanted notes who names which endpoint.
func (s *Source) wanted(m *model.Mesh) {
	for _, b := range s.bundles {
		b.fields = nil
	}
	for _, a := range m.Authorities {
		if a.URL == "" {
			continue
		}
		b := s.bundles[a.URL]
		if b == nil {
			b = &bundle{}
			s.bundles[a.URL] = b
		}
		b.retry.Min, b.retry.Max = firstRetry, longestRetry
		b.fields = append(b.fields, a.Field+".spiffeBundleUrl")
	}
}

// fetch starts a fetch.
func (s *Source) fetch(ctx context.Context, url string, b *bundle, domain string) {
	b.busy = true
	s.wg.Go(func() {
		r := result{url: url}
		r.pem, r.refresh, r.err = get(ctx, s.client, url, domain)
		select {
		case s.results <- r:
		case <-ctx.Done():
		}
	})
}

// take notes the outcome of a fetch and tells of it.
func (s *Source) take(ctx context.Context, out chan<- model.Delta, r result) error {
	b := s.bundles[r.url]
	b.busy = false
	d := model.Delta{Source: Name}
	if r.err != nil {
		b.due = time.Now().Add(b.retry.Next())
		if b.failed == r.err.Error() {
			return nil
		}
		b.failed = r.err.Error()
		s.log.Warn("a trust bundle cannot be fetched", "from", r.url, "error", r.err)
		d.Why = "a trust bundle cannot be fetched"
	} else {
		b.retry.Reset()
		b.due = time.Now().Add(r.refresh)
		if b.failed == "" && b.pem == r.pem {
			return nil
		}
		if b.pem != r.pem {
			d.Upserts = []model.Object{object(model.BundleFrom(r.url), r.pem)}
		}
		b.failed, b.pem = "", r.pem
		s.save()
		d.Why = "trust bundle of " + r.url
	}
	d.Findings = s.findings()
	return source.Send(ctx, out, d)
}

func object(k model.Key, pem string) *model.TrustBundle {
	return &model.TrustBundle{Meta: model.Meta{Key: k, Origin: model.Origin{Source: Name}, Hash: xxhash.Sum64String(pem)}, PEM: pem}
}

// findings is what cannot be fetched, for every field that names it.
func (s *Source) findings() []model.Finding {
	snap := s.opts.Snapshots.Load()
	if snap == nil || snap.Mesh == nil {
		return nil
	}
	var out []model.Finding
	for _, b := range s.bundles {
		if b.failed == "" {
			continue
		}
		for _, field := range b.fields {
			f := model.Finding{
				Code: CodeFetch, Severity: model.Warning, Object: snap.Mesh.Key, Origin: snap.Mesh.Origin, Field: field,
				Message: "the trust bundle cannot be fetched, the last one stays: " + b.failed,
				Remedy:  "check the address, and that its certificate is of an authority that this machine trusts",
			}
			if b.pem == "" {
				f.Severity = model.Error
				f.Message = "the trust bundle cannot be fetched, and workloads that it would vouch for are refused: " + b.failed
			}
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b model.Finding) int { return strings.Compare(a.Field, b.Field) })
	return out
}
