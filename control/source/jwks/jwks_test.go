package jwks

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/refetch"
)

// keys is a set with a key whose id tells it apart.
func keys(id string) string {
	return `{"keys":[{"kid":"` + id + `","kty":"EC","crv":"P-256","x":"zVHttSZSjNLXJgus7ZO_cpPVpt_KErKFo2c3rNDcWcg","y":"MZrJN-_aLJ4rujwqlP9fNpsxwZzxu45kqoUsH2y-D4k"}]}`
}

// web answers by address; what it has no answer for fails.
type web struct {
	mu      sync.Mutex
	answers map[string]string
	asked   int
}

func (w *web) set(uri, answer string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[uri] = answer
}

func (w *web) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	body, ok := w.answers[r.URL.String()]
	if !ok {
		return nil, errors.New("no route to host")
	}
	code := http.StatusOK
	if body == "" {
		code = http.StatusTeapot
	}
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func request(rules ...model.JWTRule) *model.RequestAuth {
	return &model.RequestAuth{
		Meta:  model.Meta{Key: model.Key{Kind: model.KindRequestAuthentication, Namespace: "default", Name: "a"}},
		Rules: rules,
	}
}

func snapshot(fetch model.JWKSFetch, list ...*model.RequestAuth) *model.Snapshot {
	m := model.DefaultMesh()
	m.JWKS.Fetch = fetch
	return &model.Snapshot{Mesh: m, RequestAuths: list, Services: []*model.Service{{Host: "in.mesh"}}}
}

// bench runs a source in a synctest bubble, and keeps what it sends.
type bench struct {
	t     *testing.T
	web   *web
	cell  watch.Cell[*model.Snapshot]
	mu    sync.Mutex
	sets  map[string]string // by name
	finds []model.Finding
}

func start(t *testing.T, dir string) *bench {
	b := &bench{t: t, web: &web{answers: map[string]string{}}, sets: map[string]string{}}
	s := New(Options{Snapshots: &b.cell, Dir: dir, Transport: b.web, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	out, done := make(chan model.Delta), make(chan error, 1)
	go func() { done <- s.Run(ctx, out) }()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case d := <-out:
				b.mu.Lock()
				for _, o := range d.Upserts {
					b.sets[o.Head().Key.Name] = o.(*model.KeySet).JWKS
				}
				for _, k := range d.Deletes {
					delete(b.sets, k.Name)
				}
				b.finds = d.Findings
				b.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	synctest.Wait()
	return b
}

// want lets time pass and compares.
func (b *bench) want(after time.Duration, sets map[string]string, finding string) {
	b.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := cmp.Diff(sets, b.sets); d != "" {
		b.t.Errorf("sets (-want, +got):\n%s", d)
	}
	got := ""
	for _, f := range b.finds {
		got += f.Severity.String() + " " + f.Field + " " + f.Message + "\n"
	}
	if finding == "" && got != "" || !strings.Contains(got, finding) {
		b.t.Errorf("findings %q, want %q", got, finding)
	}
}

const uri = "https://issuer.example/keys"

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "")
		b.cell.Store(snapshot(model.FetchControl, request(model.JWTRule{Issuer: "i", JWKSURI: uri}, model.JWTRule{Issuer: "j", JWKS: keys("x")})))
		b.want(0, map[string]string{}, "error spec.jwtRules[0].jwksUri the keys cannot be fetched, and every token is refused")
		b.web.set(uri, keys("1"))
		b.want(3*time.Second, map[string]string{uri: keys("1")}, "")
		asked := b.web.count()
		b.web.set(uri, keys("2"))
		b.want(19*time.Minute, map[string]string{uri: keys("1")}, "")
		if n := b.web.count(); n != asked {
			t.Errorf("asked %d times too early", n-asked)
		}
		b.want(time.Minute, map[string]string{uri: keys("2")}, "")
		// What fails leaves the last ones, and is tried again soon.
		for _, bad := range []string{"", "{", `{"keys":[]}`, strings.Repeat(" ", most+1)} {
			b.web.set(uri, bad)
			b.want(20*time.Minute, map[string]string{uri: keys("2")}, "warning spec.jwtRules[0].jwksUri the keys cannot be fetched, the last ones stay")
		}
		b.web.set(uri, keys("3"))
		b.want(refetch.LongestRetry, map[string]string{uri: keys("3")}, "")
		// Forgotten when nobody asks any more, but not at once.
		b.cell.Store(snapshot(model.FetchControl))
		b.want(time.Second, map[string]string{uri: keys("3")}, "")
		b.want(20*time.Minute, map[string]string{}, "")
	})
}

func TestWhoFetches(t *testing.T) {
	inMesh := model.JWTRule{Issuer: "i", JWKSURI: "http://in.mesh/keys"}
	outside := model.JWTRule{Issuer: "i", JWKSURI: uri}
	issuer := model.JWTRule{Issuer: "https://o.example/"}
	for _, tc := range []struct {
		name  string
		fetch model.JWKSFetch
		want  map[string]string
	}{
		{"control", model.FetchControl, map[string]string{"http://in.mesh/keys": keys("m"), uri: keys("o"), "issuer https://o.example/": keys("d")}},
		{"hybrid", model.FetchHybrid, map[string]string{uri: keys("o"), "issuer https://o.example/": keys("d")}},
		{"proxy", model.FetchProxy, map[string]string{"issuer https://o.example/": keys("d")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, "")
				b.web.set("http://in.mesh/keys", keys("m"))
				b.web.set(uri, keys("o"))
				b.web.set("https://o.example/.well-known/openid-configuration", `{"jwks_uri": "https://o.example/d"}`)
				b.web.set("https://o.example/d", keys("d"))
				b.cell.Store(snapshot(tc.fetch, request(inMesh, outside, issuer, model.JWTRule{Issuer: "nobody"})))
				b.want(0, tc.want, "")
			})
		})
	}
}

// TestSaved: what was fetched outlives the control plane.
func TestSaved(t *testing.T) {
	dir := t.TempDir()
	all := snapshot(model.FetchControl, request(model.JWTRule{Issuer: "i", JWKSURI: uri}))
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir)
		b.web.set(uri, keys("1"))
		b.cell.Store(all)
		b.want(0, map[string]string{uri: keys("1")}, "")
	})
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir)
		b.want(0, map[string]string{uri: keys("1")}, "")
		b.cell.Store(all)
		b.want(0, map[string]string{uri: keys("1")}, "warning spec.jwtRules[0].jwksUri the keys cannot be fetched, the last ones stay")
	})
}

// TestBlocked asks a real server, at an address that the mesh blocks and then does not.
func TestBlocked(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, keys("1")) }))
	defer srv.Close()
	s := New(Options{Snapshots: &watch.Cell[*model.Snapshot]{}, Log: slog.New(slog.DiscardHandler)})
	for _, tc := range []struct {
		blocked []netip.Prefix
		want    string
	}{
		{[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "is blocked by the mesh (127.0.0.0/8)"},
		{[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, ""},
	} {
		s.blocked.Store(&model.JWKS{Blocked: tc.blocked})
		got, err := s.get(t.Context(), model.KeySource{URI: srv.URL}, 20*time.Second)
		switch {
		case tc.want == "" && (err != nil || got != keys("1")):
			t.Errorf("%q, %v", got, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%v, want %q", err, tc.want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(keys("1"))
	f.Add(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-7"},1]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if n, problems, err := Check(text); err != nil && (n > 0 || problems != nil) || n < 0 {
			t.Errorf("%d keys, %v, %v", n, problems, err)
		}
	})
}
