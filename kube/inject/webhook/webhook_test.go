package webhook

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admission "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/weftmesh/weft/kube/inject"
)

func newHandler(t *testing.T) http.Handler {
	t.Helper()
	i, err := inject.New(inject.Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Handler(Options{Injector: func() *inject.Injector { return i }})
}

func ask(t *testing.T, h http.Handler, path string, r *admission.AdmissionRequest) *admission.AdmissionResponse {
	t.Helper()
	raw, err := json.Marshal(admission.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: r})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(raw)))
	var got admission.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Response == nil || got.APIVersion != "admission.k8s.io/v1" || got.Response.UID != r.UID {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return got.Response
}

func request(t *testing.T, change func(*corev1.Pod)) *admission.AdmissionRequest {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}}
	if change != nil {
		change(p)
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return &admission.AdmissionRequest{
		UID: "1", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Namespace: "default", Operation: admission.Create, Object: runtime.RawExtension{Raw: raw},
	}
}

// TestHandler: pods are patched, left alone or refused.
func TestHandler(t *testing.T) {
	h := newHandler(t)
	note := func(k, v string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{k: v} }
	}
	got := ask(t, h, "/inject/cluster/east/net/blue", request(t, note("sidecar.istio.io/statsFlushInterval", "5s")))
	if !got.Allowed || got.PatchType == nil || *got.PatchType != admission.PatchTypeJSONPatch {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{`"istio-proxy"`, `{"name":"ISTIO_META_CLUSTER_ID","value":"east"}`, `{"name":"ISTIO_META_NETWORK","value":"blue"}`} {
		if !strings.Contains(string(got.Patch), want) {
			t.Errorf("the patch has no %s: %s", want, got.Patch)
		}
	}
	if len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "WEFT0490") || !strings.Contains(got.Warnings[0], "statsFlushInterval") {
		t.Errorf("warnings %q", got.Warnings)
	}
	if got := ask(t, h, Path, request(t, note("sidecar.istio.io/inject", "false"))); !got.Allowed || got.Patch != nil {
		t.Errorf("a pod that says no: %+v", got)
	}
	if got := ask(t, h, Path, request(t, note("sidecar.istio.io/proxyCPU", "much"))); got.Allowed || !strings.Contains(got.Result.Message, "WEFT0496 Pod default/shop: annotation sidecar.istio.io/proxyCPU") {
		t.Errorf("a pod that cannot be: %+v", got)
	}
	bad := request(t, nil)
	bad.Object.Raw = []byte(`{"spec": {"containers": "none"}}`)
	if got := ask(t, h, Path, bad); got.Allowed {
		t.Error("what is no pod is let in")
	}
	other := request(t, nil)
	other.Kind.Kind = "Node"
	if got := ask(t, h, Path, other); !got.Allowed || got.Patch != nil {
		t.Error("another kind is touched")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, Path, strings.NewReader("{}")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("no review: %d", w.Code)
	}
}

// TestVariables: what the path says.
func TestVariables(t *testing.T) {
	for path, want := range map[string]map[string]string{
		"/inject": {}, "/inject/": {}, "/inject/cluster": {}, "/inject/cluster/a/net": {"ISTIO_META_CLUSTER_ID": "a"},
		"/inject/cluster/a--slash--b/net/n/":         {"ISTIO_META_CLUSTER_ID": "a/b", "ISTIO_META_NETWORK": "n"},
		"/inject/my_var/x":                           {"MY_VAR": "x"},
		"/inject/:ENV:cluster=a:ENV:X=:ENV:=y:ENV:z": {"ISTIO_META_CLUSTER_ID": "a", "X": ""},
	} {
		if got := variables(path); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func FuzzVariables(f *testing.F) {
	f.Add("/inject/cluster/a")
	f.Add("/inject/:ENV:a=b")
	f.Fuzz(func(t *testing.T, path string) {
		for k := range variables(path) {
			if k == "" {
				t.Errorf("%q has a variable without a name", path)
			}
		}
	})
}

// TestFiles: a changed file holds, a bad one does not.
func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "settings.yaml")
	at := time.Now()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("image: a:1")
	f, err := NewFiles(path, "", slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	image := func() string {
		got, err := f.Injector().Inject(inject.Request{Pod: &corev1.Pod{}, Namespace: inject.Namespace{Name: "default"}})
		if err != nil {
			t.Fatal(err)
		}
		return got.Pod.Spec.InitContainers[0].Image
	}
	for text, want := range map[string]string{"image: a:1": "a:1"} {
		if got := image(); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	write("image: b:1")
	if got := image(); got != "b:1" {
		t.Errorf("after a change: %s", got)
	}
	write("imaeg: c:1")
	if got := image(); got != "b:1" {
		t.Errorf("after a mistake: %s", got)
	}
	if _, err := NewFiles("/nonexistent", "", nil); err == nil {
		t.Error("a file that is not there is read")
	}
}
