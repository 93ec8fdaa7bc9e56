package module

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
)

var code = []byte("\x00asm\x01\x00\x00\x00")

// fakeRegistry is one with a token server, of which users have to have the password.
type fakeRegistry struct {
	*httptest.Server
	manifests map[string][]byte
	blobs     map[string][]byte
	user      string // "name:password"; "": anybody
}

func newRegistry(t *testing.T) *fakeRegistry {
	r := &fakeRegistry{manifests: map[string][]byte{}, blobs: map[string][]byte{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (f *fakeRegistry) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		name, password, _ := r.BasicAuth()
		if name+":"+password != f.user || r.URL.Query().Get("scope") != "repository:team/plugin:pull" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, `{"token": "good"}`)
		return
	}
	if f.user != "" && r.Header.Get("Authorization") != "Bearer good" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+f.URL+`/token",service="s"`)
		http.Error(w, "who", http.StatusUnauthorized)
		return
	}
	for prefix, in := range map[string]map[string][]byte{"/v2/team/plugin/manifests/": f.manifests, "/v2/team/plugin/blobs/": f.blobs} {
		if name, ok := strings.CutPrefix(r.URL.Path, prefix); ok && in[name] != nil {
			_, _ = w.Write(in[name])
			return
		}
	}
	http.NotFound(w, r)
}

// image adds an image of one layer, and returns the digest of its manifest.
func (f *fakeRegistry) image(tag, kind string, layer []byte) string {
	d := "sha256:" + digest(layer)
	f.blobs[d] = layer
	raw, err := json.Marshal(manifest{Layers: []descriptor{{kind, d}}})
	if err != nil {
		panic(err)
	}
	f.manifests[tag], f.manifests["sha256:"+digest(raw)] = raw, raw
	return digest(raw)
}

func (f *fakeRegistry) ref(at string) string {
	return "oci://" + strings.TrimPrefix(f.URL, "http://") + "/team/plugin" + at
}

// files is a layer with the module as a file.
func files(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "./plugin.wasm", Size: int64(len(code)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{second(w.Write(code)), w.Close(), z.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func second(_ int, err error) error { return err }

func TestFetch(t *testing.T) {
	r := newRegistry(t)
	r.user = "me:secret"
	sum := r.image("v1", wasmLayer, code)
	r.image("files", "application/vnd.oci.image.layer.v1.tar+gzip", files(t))
	r.image("other", wasmLayer, []byte("text"))
	index, err := json.Marshal(manifest{Manifests: []descriptor{{ociManifest, "sha256:" + sum}}})
	if err != nil {
		t.Fatal(err)
	}
	r.manifests["index"] = index
	host := strings.TrimPrefix(r.URL, "http://")
	docker := []byte(`{"auths": {"` + host + `": {"auth": "` + base64.StdEncoding.EncodeToString([]byte(r.user)) + `"}}}`)
	named := []byte(`{"auths": {"http://` + host + `/v2/": {"username": "me", "password": "secret"}}}`)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(code) }))
	defer plain.Close()
	file := filepath.Join(t.TempDir(), "a.wasm")
	if err := os.WriteFile(file, code, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		from, sum string
		docker    []byte
		fails     string
	}{
		"artifact":           {r.ref(":v1"), "", docker, ""},
		"user and password":  {r.ref(":v1"), "", named, ""},
		"image's sum":        {r.ref(":v1"), sum, docker, ""},
		"module's sum":       {r.ref(":v1"), digest(code), docker, ""},
		"by digest":          {r.ref("@sha256:" + sum), "", docker, ""},
		"a file in a layer":  {r.ref(":files"), "", docker, ""},
		"an index":           {r.ref(":index"), "", docker, ""},
		"another sum":        {r.ref(":v1"), strings.Repeat("0", 64), docker, "SHA-256"},
		"no such tag":        {r.ref(":v2"), "", docker, "404"},
		"no credentials":     {r.ref(":v1"), "", nil, "403"},
		"others' only":       {r.ref(":v1"), "", []byte(`{"auths": {"a.example.com": {}}}`), "has nothing for"},
		"no module":          {r.ref(":other"), "", docker, "plugin.wasm"},
		"http":               {plain.URL, "", nil, ""},
		"http, another sum":  {plain.URL, strings.Repeat("1", 64), nil, "SHA-256"},
		"file":               {"file://" + file, digest(code), nil, ""},
		"no file":            {"file://" + file + "x", "", nil, "no such file"},
		"not even an image":  {"oci://host", "", nil, "is no image"},
		"a scheme of others": {"ftp://host/a", "", nil, "no scheme"},
	} {
		got, err := Fetch(t.Context(), r.Client(), tc.from, tc.sum, tc.docker)
		switch {
		case tc.fails == "" && (err != nil || !bytes.Equal(got, code)):
			t.Errorf("%s: %q, %v", name, got, err)
		case tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)):
			t.Errorf("%s: %v, want %q", name, err, tc.fails)
		}
	}
}

// TestSource: what plug-ins name is fetched, with the Secret that they name, is on disk for the next start, and is a
// Finding while it cannot be had.
func TestSource(t *testing.T) {
	r := newRegistry(t)
	r.user = "me:secret"
	filter := &model.EnvoyFilter{Modules: []model.ModuleRef{{URL: r.ref(":v1"), Secret: "default/pull", Field: "spec.url"}}}
	filter.Key = model.Key{Kind: model.KindWasmPlugin, Namespace: "default", Name: "a"}
	snap := &model.Snapshot{Version: 1, EnvoyFilters: []*model.EnvoyFilter{filter}}
	var cell watch.Cell[*model.Snapshot]
	cell.Store(snap)
	dir := t.TempDir()
	run := func() (next func() model.Delta, stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		out, ended := make(chan model.Delta), make(chan struct{})
		go func() {
			defer close(ended)
			_ = New(&cell, dir, slog.New(slog.DiscardHandler)).Run(ctx, out)
		}()
		next = func() model.Delta {
			t.Helper()
			select {
			case d := <-out:
				return d
			case <-time.After(time.Minute):
				t.Fatal("nothing was sent")
			}
			return model.Delta{}
		}
		return next, func() { cancel(); <-ended }
	}
	next, stop := run()
	wait := func(what string, good func(model.Delta) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			if d := next(); good(d) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	wait("no Finding about the Secret", func(d model.Delta) bool {
		return len(d.Findings) == 1 && d.Findings[0].Code == CodeFetch && strings.Contains(d.Findings[0].Message, "no Secret default/pull")
	})
	secret := &model.Secret{Docker: []byte(`{"auths": {"` + strings.TrimPrefix(r.URL, "http://") + `": {"username": "me", "password": "secret"}}}`)}
	secret.Key = model.Key{Kind: model.KindSecret, Namespace: "default", Name: "pull"}
	r.image("v1", wasmLayer, code)
	cell.Store(&model.Snapshot{Version: 2, EnvoyFilters: snap.EnvoyFilters, Secrets: []*model.Secret{secret}})
	wait("no module", func(d model.Delta) bool { return len(d.Findings) == 0 && len(d.Upserts) == 1 })
	stop()
	r.Close()
	next, stop = run()
	wait("nothing was kept", func(d model.Delta) bool { return len(d.Upserts) == 1 })
	stop()
}
