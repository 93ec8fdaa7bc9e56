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
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/refetch"
)

// CodeFetch is the code of Findings about bundles that cannot be fetched.
const CodeFetch = "WEFT0455"

// Name is the source's name.
const Name = "trust"

// How often bundles are fetched: where they do not say it themselves, and at least.
const (
	usualRefresh   = 5 * time.Minute // as SPIFFE Federation has it
	longestRefresh = time.Hour
)

// Options of a Source.
type Options struct {
	// Snapshots is where the MeshConfig comes from.
	Snapshots refetch.Snapshots
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
	loop   *refetch.Loop[string]
	client *http.Client

	// fields are those of the MeshConfig that name an endpoint now, by its URL; they belong to Run.
	fields map[string][]string
}

// New returns a source.
func New(o Options) *Source {
	transport := o.Transport
	if transport == nil {
		transport = secure()
	}
	s := &Source{opts: o, client: &http.Client{Transport: transport, Timeout: fetchBound}}
	kind := refetch.Kind[string]{
		Source: Name, Plural: "trust bundles", One: "trust bundle of ", Failed: "a trust bundle cannot be fetched", Saved: "trust bundles",
		First: []model.Object{object(model.OwnBundle(), string(o.Own))}, FirstWhy: "the mesh's authority",
		Title:  func(url string) string { return url },
		Object: func(url, pem string) model.Object { return object(model.BundleFrom(url), pem) }, Key: model.BundleFrom,
		Wanted: s.wanted, Fetch: s.fetch, Refresh: func(*model.Mesh) time.Duration { return usualRefresh }, Findings: s.findings,
		Marshal: func(all map[string]string) any { return all }, Unmarshal: unmarshal,
	}
	if o.Dir != "" {
		kind.File = filepath.Join(o.Dir, file)
	}
	s.loop = refetch.New(kind, o.Snapshots, o.Log)
	return s
}

// Name implements source.Source.
func (s *Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error { return s.loop.Run(ctx, out) }

// wanted notes who names which endpoint.
func (s *Source) wanted(snap *model.Snapshot) map[string]bool {
	s.fields = map[string][]string{}
	out := map[string]bool{}
	for _, a := range snap.Mesh.Authorities {
		if a.URL != "" {
			s.fields[a.URL], out[a.URL] = append(s.fields[a.URL], a.Field+".spiffeBundleUrl"), true
		}
	}
	return out
}

// fetch prepares a fetch.
func (s *Source) fetch(snap *model.Snapshot, url string) refetch.Get {
	domain := snap.Mesh.TrustDomain
	return func(ctx context.Context) (string, time.Duration, error) { return get(ctx, s.client, url, domain) }
}

func object(k model.Key, pem string) *model.TrustBundle {
	return &model.TrustBundle{Meta: model.Meta{Key: k, Origin: model.Origin{Source: Name}, Hash: xxhash.Sum64String(pem)}, PEM: pem}
}

// findings is what cannot be fetched, for every field that names it.
func (s *Source) findings(failed map[string]refetch.Failure) []model.Finding {
	snap := s.opts.Snapshots.Load()
	if snap == nil || snap.Mesh == nil {
		return nil
	}
	var out []model.Finding
	for url, why := range failed {
		for _, field := range s.fields[url] {
			f := model.Finding{
				Code: CodeFetch, Severity: model.Warning, Object: snap.Mesh.Key, Origin: snap.Mesh.Origin, Field: field,
				Message: "the trust bundle cannot be fetched, the last one stays: " + why.Why,
				Remedy:  "check the address, and that its certificate is of an authority that this machine trusts",
			}
			if !why.Old {
				f.Severity = model.Error
				f.Message = "the trust bundle cannot be fetched, and workloads that it would vouch for are refused: " + why.Why
			}
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b model.Finding) int { return strings.Compare(a.Field, b.Field) })
	return out
}
