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
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/refetch"
)

// CodeFetch is the code of Findings about keys that cannot be fetched.
const CodeFetch = "WEFT0116"

// Name is the source's name.
const Name = "jwks"

const (
	usualRefresh   = 20 * time.Minute // Istio's
	usualTimeout   = 5 * time.Second  // Istio's
	fetchesAtATime = 8
)

// Options of a Source.
type Options struct {
	// Snapshots is where the RequestAuthentications come from.
	Snapshots refetch.Snapshots
	// Dir is where fetched keys are saved; empty: nowhere.
	Dir string
	// Transport fetches; nil: a plain one that goes by the mesh's blocked addresses.
	Transport http.RoundTripper
	Log       *slog.Logger
}

// Source fetches keys.
type Source struct {
	opts    Options
	loop    *refetch.Loop[model.KeySource]
	client  *http.Client
	blocked atomic.Pointer[model.JWKS]
	slots   chan struct{}

	// asked is who asks for what now; it belongs to Run.
	asked map[model.KeySource]*asked
}

// asked is by whom a set is asked for, and the longest time that one of them gives it.
type asked struct {
	users   []user
	timeout time.Duration
}

// user is a rule of an object.
type user struct {
	of    *model.RequestAuth
	field string
}

// New returns a source.
func New(o Options) *Source {
	s := &Source{opts: o, slots: make(chan struct{}, fetchesAtATime)}
	kind := refetch.Kind[model.KeySource]{
		Source: Name, Plural: "keys of tokens", One: "keys of ", Failed: "keys of tokens cannot be fetched", Saved: "keys",
		Title: func(from model.KeySource) string { return from.Key().Name }, Object: keySet, Key: model.KeySource.Key,
		Wanted: s.wanted, Fetch: s.fetch, Refresh: refresh, Findings: s.findings, Marshal: marshal, Unmarshal: unmarshal,
	}
	if o.Dir != "" {
		kind.File = filepath.Join(o.Dir, file)
	}
	s.loop = refetch.New(kind, o.Snapshots, o.Log)
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
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error { return s.loop.Run(ctx, out) }

func refresh(m *model.Mesh) time.Duration {
	if m.JWKS.Refresh > 0 {
		return m.JWKS.Refresh
	}
	return usualRefresh
}

// wanted notes who asks for what, and which addresses are blocked.
func (s *Source) wanted(snap *model.Snapshot) map[model.KeySource]bool {
	s.blocked.Store(&snap.Mesh.JWKS)
	s.asked = map[model.KeySource]*asked{}
	out := map[model.KeySource]bool{}
	for _, ra := range snap.RequestAuths {
		for i := range ra.Rules {
			r := &ra.Rules[i]
			from, ok := r.KeySource()
			if !ok || !ours(snap, from) {
				continue
			}
			a := s.asked[from]
			if a == nil {
				a = &asked{}
				s.asked[from], out[from] = a, true
			}
			field := ".jwksUri"
			if from.URI == "" {
				field = ".issuer"
			}
			a.users = append(a.users, user{ra, "spec.jwtRules[" + strconv.Itoa(i) + "]" + field})
			a.timeout = max(a.timeout, cmp.Or(r.Timeout, usualTimeout))
		}
	}
	return out
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

// fetch prepares a fetch, of which some run at a time.
func (s *Source) fetch(_ *model.Snapshot, from model.KeySource) refetch.Get {
	timeout := s.asked[from].timeout
	return func(ctx context.Context) (string, time.Duration, error) {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return "", 0, ctx.Err()
		}
		defer func() { <-s.slots }()
		jwks, err := s.get(ctx, from, timeout)
		return jwks, refresh(s.opts.Snapshots.Load().Mesh), err
	}
}

func keySet(from model.KeySource, jwks string) model.Object {
	return &model.KeySet{
		Meta: model.Meta{Key: from.Key(), Origin: model.Origin{Source: Name}, Hash: xxhash.Sum64String(jwks)},
		JWKS: jwks,
	}
}

// findings is what cannot be fetched, for everybody who asks for it.
func (s *Source) findings(failed map[model.KeySource]refetch.Failure) []model.Finding {
	var out []model.Finding
	for from, why := range failed {
		a := s.asked[from]
		if a == nil {
			continue
		}
		for _, u := range a.users {
			f := model.Finding{
				Code: CodeFetch, Severity: model.Warning, Object: u.of.Key, Origin: u.of.At(u.field), Field: u.field,
				Message: "the keys cannot be fetched, the last ones stay: " + why.Why, Remedy: "check the address",
			}
			if !why.Old {
				f.Severity = model.Error
				f.Message = "the keys cannot be fetched, and every token is refused: " + why.Why
			}
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b model.Finding) int {
		return strings.Compare(fmt.Sprint(a.Object, a.Field), fmt.Sprint(b.Object, b.Field))
	})
	return out
}
