package plugin

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/source/module"
)

// TestProject: what is begun in Go builds, passes its own recording, is found out when it does not, and goes into a
// registry from which the control plane has it.
func TestProject(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stamp")
	if _, err := New(dir, "go"); err != nil {
		t.Fatal(err)
	}
	if _, err := New(dir, "go"); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second time: %v", err)
	}
	if _, err := New(dir+"x", "cobol"); err == nil {
		t.Error("there is a template in COBOL")
	}
	file := filepath.Join(dir, "plugin.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", file, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log := slog.New(slog.DiscardHandler)
	outcomes, err := Test(t.Context(), file, filepath.Join(dir, "requests.yaml"), log)
	if err != nil || len(outcomes) != 2 {
		t.Fatalf("%v, %v", outcomes, err)
	}
	for _, o := range outcomes {
		if len(o.Faults) > 0 {
			t.Errorf("%s: %v", o.Name, o.Faults)
		}
	}
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("requests: [{want: {status: 404, request: {x-stamp: other}}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if outcomes, err = Test(t.Context(), file, bad, log); err != nil || len(outcomes[0].Faults) != 2 {
		t.Errorf("%v, %v", outcomes, err)
	}

	r := &registry{has: map[string][]byte{}}
	server := httptest.NewServer(r)
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/stamp:v1"
	sum, err := Push(t.Context(), server.Client(), file, Image{Ref: ref, User: "me:secret", Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := module.Fetch(t.Context(), server.Client(), "oci://"+ref, strings.TrimPrefix(sum, "sha256:"), nil)
	if err != nil || string(got) != string(want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	if _, err := Push(t.Context(), server.Client(), file, Image{Ref: ref, User: "me:wrong", Plain: true}); err == nil {
		t.Error("the wrong password does")
	}
}

// registry takes what is pushed by who has the password.
type registry struct{ has map[string][]byte }

func (f *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, password, _ := r.BasicAuth()
	key := r.URL.Path
	switch {
	case r.Method == http.MethodGet && f.has[key] != nil:
		_, _ = w.Write(f.has[key])
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		http.NotFound(w, r)
	case password != "secret":
		http.Error(w, "no", http.StatusUnauthorized)
	case r.Method == http.MethodPost:
		w.Header().Set("Location", r.URL.Path+"one?state=x")
		w.WriteHeader(http.StatusAccepted)
	default:
		body, _ := io.ReadAll(r.Body)
		if d := r.URL.Query().Get("digest"); d != "" {
			key = strings.TrimSuffix(key, "uploads/one") + d
		}
		f.has[key] = body
		w.WriteHeader(http.StatusCreated)
	}
}
