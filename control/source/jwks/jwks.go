// Package jwks is the source of the keys by which tokens are checked: it fetches
// them from where the RequestAuthentications in force say, anew every 20 minutes
// (or as the mesh says), and keeps what it had when that fails. What it has is saved,
// so that a control plane that starts does not have proxies refuse good tokens.
//
// It fetches only what the control plane is to fetch (model.JWKS), from no address
// that the mesh blocks, and judges no tokens. A set that is asked for no more is
// forgotten when it would be fetched next.
package jwks

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
)

// CodeFetch is the code of Findings about keys that cannot be fetched.
const CodeFetch = "WEFT0116"

// Name is the source's name.
const Name = "jwks"

const (
	usualRefresh   = 20 * time.Minute // Istio's
	usualTimeout   = 5 * time.Second  // Istio's
	firstRetry     = time.Second
	longestRetry   = time.Minute
	fetchesAtATime = 8
)

// Snapshots is where the RequestAuthentications come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Options of a Source.
type Options struct {
	Snapshots Snapshots
	// Dir is where fetched keys are saved; empty: nowhere.
	Dir string
	// Transport fetches; nil: a plain one that goes by the mesh's blocked addresses.
	Transport http.RoundTripper
	Log       *slog.Logger
}

// Source fetches keys.
type Source struct {
	opts    Options
	log     *slog.Logger
	client  *http.Client
	blocked atomic.Pointer[model.JWKS]

	// The rest belongs to Run.
	sets    map[model.KeySource]*set
	results chan result
	wg      sync.WaitGroup
	slots   chan struct{}
}

// set is what is known of one KeySource.
type set struct {
	jwks    string // last good
	due     time.Time
	busy    bool
	failed  string // why the last fetch failed
	retry   backoff.Backoff
	users   []user // who asks for it now
	timeout time.Duration
}

// user is a rule of an object.
type user struct {
	of    *model.RequestAuth
	field string
}

type result struct {
	from model.KeySource
	jwks string
	err  error
}

// New returns a source.
func New(o Options) *Source {
	s := &Source{
		opts: o, log: o.Log.With("component", "source/jwks"), sets: map[model.KeySource]*set{},
		results: make(chan result), slots: make(chan struct{}, fetchesAtATime),
	}
	transport := o.Transport
	if transport == nil {
		transport = s.transport()
	}
	s.client = &http.Client{Transport: transport}
	return s
}

// Name implements source.Source.
func (s *Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	first := model.Delta{Source: Name, Full: true}
	for from, jwks := range s.saved() {
		s.sets[from] = &set{jwks: jwks}
		first.Upserts, first.Why = append(first.Upserts, keySet(from, jwks)), "saved keys"
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

// look fetches what is due by the snapshot in force, and forgets what nobody asks for.
func (s *Source) look(ctx context.Context, out chan<- model.Delta, timer *time.Timer) error {
	snap := s.opts.Snapshots.Load()
	if snap == nil || snap.Mesh == nil {
		return nil
	}
	s.blocked.Store(&snap.Mesh.JWKS)
	before := s.findings()
	s.wanted(snap)
	now := time.Now()
	var gone []model.Key
	next := now.Add(time.Hour)
	for from, k := range s.sets {
		switch {
		case k.busy:
			continue
		case k.due.After(now):
		case len(k.users) > 0:
			s.fetch(ctx, from, k)
			continue
		case k.due.IsZero(): // saved, and not asked for yet
			k.due = now.Add(refresh(snap.Mesh))
		default:
			delete(s.sets, from)
			gone = append(gone, from.Key())
			continue
		}
		if k.due.Before(next) {
			next = k.due
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
	return source.Send(ctx, out, model.Delta{Source: Name, Deletes: gone, Findings: findings, Why: "keys of tokens"})
}

func refresh(m *model.Mesh) time.Duration {
	if m.JWKS.Refresh > 0 {
		return m.JWKS.Refresh
	}
	return usualRefresh
}

// wanted notes who asks for what.
func (s *Source) wanted(snap *model.Snapshot) {
	for _, k := range s.sets {
		k.users, k.timeout = nil, 0
	}
	for _, ra := range snap.RequestAuths {
		for i := range ra.Rules {
			r := &ra.Rules[i]
			from, ok := r.KeySource()
			if !ok || !ours(snap, from) {
				continue
			}
			k := s.sets[from]
			if k == nil {
				k = &set{}
				s.sets[from] = k
			}
			k.retry.Min, k.retry.Max = firstRetry, longestRetry
			field := ".jwksUri"
			if from.URI == "" {
				field = ".issuer"
			}
			k.users = append(k.users, user{ra, "spec.jwtRules[" + strconv.Itoa(i) + "]" + field})
			timeout := r.Timeout
			if timeout == 0 {
				timeout = usualTimeout
			}
			k.timeout = max(k.timeout, timeout)
		}
	}
}

// ours tells whether the control plane is to fetch: always, unless the mesh has
// proxies fetch, of which none can ask an issuer where its keys are.
func ours(snap *model.Snapshot, from model.KeySource) bool {
	if from.URI == "" {
		// An issuer that is no address has no keys to fetch; the front end says so.
		return strings.HasPrefix(from.Issuer, "http://") || strings.HasPrefix(from.Issuer, "https://")
	}
	switch snap.Mesh.JWKS.Fetch {
	case model.FetchProxy:
		return false
	case model.FetchHybrid:
		u, err := url.Parse(from.URI)
		return err != nil || !slices.ContainsFunc(snap.Services, func(x *model.Service) bool { return x.Host == u.Hostname() })
	}
	return true
}

// fetch starts a fetch.
func (s *Source) fetch(ctx context.Context, from model.KeySource, k *set) {
	k.busy = true
	timeout := k.timeout
	s.wg.Go(func() {
		r := result{from: from}
		select {
		case s.slots <- struct{}{}:
			r.jwks, r.err = s.get(ctx, from, timeout)
			<-s.slots
		case <-ctx.Done():
			return
		}
		select {
		case s.results <- r:
		case <-ctx.Done():
		}
	})
}

// take notes the outcome of a fetch and tells of it.
func (s *Source) take(ctx context.Context, out chan<- model.Delta, r result) error {
	k := s.sets[r.from]
	k.busy = false
	d := model.Delta{Source: Name}
	if r.err != nil {
		k.due = time.Now().Add(k.retry.Next())
		if k.failed == r.err.Error() {
			return nil
		}
		k.failed = r.err.Error()
		s.log.Warn("the keys of tokens cannot be fetched", "from", r.from.Key().Name, "error", r.err)
		d.Why = "keys of tokens cannot be fetched"
	} else {
		k.retry.Reset()
		k.due = time.Now().Add(refresh(s.opts.Snapshots.Load().Mesh))
		if k.failed == "" && k.jwks == r.jwks {
			return nil
		}
		if k.jwks != r.jwks {
			d.Upserts = []model.Object{keySet(r.from, r.jwks)}
		}
		k.failed, k.jwks = "", r.jwks
		s.save()
		d.Why = "keys of " + r.from.Key().Name
	}
	d.Findings = s.findings()
	return source.Send(ctx, out, d)
}

func keySet(from model.KeySource, jwks string) *model.KeySet {
	return &model.KeySet{
		Meta: model.Meta{Key: from.Key(), Origin: model.Origin{Source: Name}, Hash: xxhash.Sum64String(jwks)},
		JWKS: jwks,
	}
}

// findings is what cannot be fetched, for everybody who asks for it.
func (s *Source) findings() []model.Finding {
	var out []model.Finding
	for _, k := range s.sets {
		if k.failed == "" {
			continue
		}
		for _, u := range k.users {
			f := model.Finding{
				Code: CodeFetch, Severity: model.Warning, Object: u.of.Key, Origin: u.of.At(u.field), Field: u.field,
				Message: "the keys cannot be fetched, the last ones stay: " + k.failed, Remedy: "check the address",
			}
			if k.jwks == "" {
				f.Severity = model.Error
				f.Message = "the keys cannot be fetched, and every token is refused: " + k.failed
			}
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b model.Finding) int {
		return strings.Compare(fmt.Sprint(a.Object, a.Field), fmt.Sprint(b.Object, b.Field))
	})
	return out
}
