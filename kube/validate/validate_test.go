package validate

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admission "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/source/file"
)

// TestJudge: what Weft cannot use is refused, with the code of the Finding; the rest is let in.
func TestJudge(t *testing.T) {
	const head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a, namespace: b}\n"
	for name, c := range map[string]struct {
		object  string
		refused string // what is said; "": it is let in
		warned  bool
	}{
		"good":             {object: head + "spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}"},
		"no host":          {object: head + "spec: {hosts: ['not a host'], http: [{route: [{destination: {host: a}}]}]}", refused: "hosts"},
		"a field unknown":  {object: head + "spec: {hosts: [a], https: [{}]}", refused: "https"},
		"two alternatives": {object: head + "spec: {hosts: [a], http: [{route: [{destination: {host: a}}], redirect: {uri: /}}]}", refused: "redirect"},
		"goes": {object: strings.Replace(head, "namespace: b", "namespace: b, deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [x]", 1) +
			"spec: {hosts: ['not a host']}"},
		"of others": {object: "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: a}\n", warned: true},
	} {
		raw, err := yaml.YAMLToJSON([]byte(c.object))
		if err != nil {
			t.Fatal(err)
		}
		got := Judge(file.NewDecoder().ForAnalysis(), &admission.AdmissionRequest{Operation: admission.Create, Object: runtime.RawExtension{Raw: raw}})
		if got.Allowed != (c.refused == "") {
			t.Errorf("%s: let in %v: %+v", name, got.Allowed, got.Result)
		} else if !got.Allowed && (!strings.Contains(got.Result.Message, c.refused) || !strings.Contains(got.Result.Message, "WEFT")) {
			t.Errorf("%s: it says %q", name, got.Result.Message)
		}
		if !c.warned && len(got.Warnings) > 0 {
			t.Errorf("%s: warned of %q", name, got.Warnings)
		}
	}
}

// TestHandler: the answer is that to the request, and what is no request gets an error.
func TestHandler(t *testing.T) {
	h := Handler(file.NewDecoder(), slog.New(slog.DiscardHandler))
	ask := func(body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body)))
		return w
	}
	review := admission.AdmissionReview{Request: &admission.AdmissionRequest{UID: "7", Operation: admission.Create, Object: runtime.RawExtension{
		Raw: []byte(`{"apiVersion":"networking.istio.io/v1","kind":"DestinationRule","metadata":{"name":"a","namespace":"b"},"spec":{}}`),
	}}}
	review.APIVersion, review.Kind = "admission.k8s.io/v1", "AdmissionReview"
	raw, err := json.Marshal(&review)
	if err != nil {
		t.Fatal(err)
	}
	w := ask(string(raw))
	var got admission.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Response == nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	if got.Response.UID != "7" || got.Response.Allowed || got.Kind != "AdmissionReview" || got.Request != nil {
		t.Errorf("%s", w.Body)
	}
	for _, bad := range []string{"", "{", "{}", "[]"} {
		if w := ask(bad); w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", bad, w.Code)
		}
	}
}

// FuzzJudge: no object makes it panic, and a refusal always says why.
func FuzzJudge(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"a"},"spec":{"hosts":[1]}}`))
	f.Add([]byte(`{"kind":"List","items":[{}]}`))
	dec := file.NewDecoder().ForAnalysis()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) || bytes.ContainsRune(raw, 0) {
			return
		}
		r := Judge(dec, &admission.AdmissionRequest{Operation: admission.Update, Object: runtime.RawExtension{Raw: raw}})
		if !r.Allowed && r.Result.Message == "" {
			t.Errorf("%s is refused without a word", raw)
		}
	})
}
