package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/refetch"
)

const url = "https://partner.example/bundle"

// authority makes a bundle document, and its certificate in PEM.
func authority(t *testing.T, hint time.Duration) (document, pem string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "partner"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	list := []*x509.Certificate{c}
	b := spiffebundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("partner.example"), list)
	if hint > 0 {
		b.SetRefreshHint(hint)
	}
	raw, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), inPEM(list)
}

// web answers one address; "" is a failure.
type web struct {
	mu     sync.Mutex
	answer string
	asked  int
}

func (w *web) set(answer string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.answer == "" {
		return nil, errors.New("no route to host")
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(w.answer)), Request: r}, nil
}

// bench runs a source in a synctest bubble, and keeps what it sends.
type bench struct {
	t     *testing.T
	web   *web
	cell  watch.Cell[*model.Snapshot]
	mu    sync.Mutex
	has   map[string]string // PEM by name
	finds []model.Finding
}

func start(t *testing.T, dir, answer string) *bench {
	b := &bench{t: t, web: &web{answer: answer}, has: map[string]string{}}
	s := New(Options{Snapshots: &b.cell, Own: []byte("OWN\n"), Dir: dir, Transport: b.web, Log: slog.New(slog.DiscardHandler)})
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
					b.has[o.Head().Key.Name] = o.(*model.TrustBundle).PEM
				}
				for _, k := range d.Deletes {
					delete(b.has, k.Name)
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
	return b
}

// mesh publishes a MeshConfig that names these endpoints.
func (b *bench) mesh(urls ...string) {
	m := model.DefaultMesh()
	for _, u := range urls {
		m.Authorities = append(m.Authorities, model.Authority{URL: u, Domains: []string{"partner.example"}, Field: "caCertificates[0]"})
	}
	b.cell.Store(&model.Snapshot{Mesh: m})
}

// want lets time pass and compares.
func (b *bench) want(after time.Duration, has map[string]string, asked int, finding string) {
	b.t.Helper()
	time.Sleep(after)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	has["own"] = "OWN\n"
	if d := cmp.Diff(has, b.has); d != "" {
		b.t.Errorf("bundles (-want, +got):\n%s", d)
	}
	b.web.mu.Lock()
	defer b.web.mu.Unlock()
	if b.web.asked != asked {
		b.t.Errorf("asked %d times, want %d", b.web.asked, asked)
	}
	got := ""
	for _, f := range b.finds {
		got += f.Severity.String() + " " + f.Field + " " + f.Message + "\n"
	}
	if finding == "" && got != "" || !strings.Contains(got, finding) {
		b.t.Errorf("findings %q, want %q", got, finding)
	}
}

func TestFetchedAndRefetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		first, firstPEM := authority(t, 0)
		second, secondPEM := authority(t, time.Minute)
		b := start(t, dir, first)
		b.want(0, map[string]string{}, 0, "")
		b.mesh(url)
		b.want(0, map[string]string{url: firstPEM}, 1, "")
		b.web.set(second)
		b.want(usualRefresh-time.Second, map[string]string{url: firstPEM}, 1, "")
		b.want(2*time.Second, map[string]string{url: secondPEM}, 2, "")
		b.web.set("") // as often as the bundle says now; the last one stays
		b.want(59500*time.Millisecond, map[string]string{url: secondPEM}, 3, "warning caCertificates[0].spiffeBundleUrl the trust bundle cannot be fetched, the last one stays")
		b.web.set(second)
		b.want(10*time.Second, map[string]string{url: secondPEM}, 4, "")
		b.web.set("")
		again := start(t, dir, "")
		again.mesh(url)
		again.want(0, map[string]string{url: secondPEM}, 1, "warning")
		again.mesh() // named no more: forgotten when it would be due
		again.want(refetch.LongestRetry, map[string]string{}, 1, "")
	})
}

func TestRefused(t *testing.T) {
	for name, answer := range map[string]string{
		"no route to host":          "",
		"is no SPIFFE bundle":       "<html>",
		"has no authority of X.509": `{"keys":[]}`,
		"is larger than":            strings.Repeat(" ", most+1),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t, "", answer)
				b.mesh(url)
				b.want(0, map[string]string{}, 1, name)
			})
		})
	}
}
