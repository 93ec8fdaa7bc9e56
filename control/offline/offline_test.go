package offline_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

func bookstore(t *testing.T) *offline.Mesh {
	t.Helper()
	m, err := offline.Load(offline.Options{Paths: []string{"../../examples/bookstore"}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func names(list []offline.Proxy) string {
	var out []string
	for i := range list {
		out = append(out, list[i].ID.Name)
	}
	return strings.Join(out, " ")
}

func TestProxiesByName(t *testing.T) {
	m := bookstore(t)
	for _, tc := range []struct{ name, want, err string }{
		{"default/reviews-v1-0", "reviews-v1-0", ""},
		{"default/reviews-v1", "reviews-v1-0", ""},
		{"reviews-v1.default", "reviews-v1-0", ""},
		{"gateway/istio-ingressgateway", "istio-ingressgateway-0", ""},
		{"gateway/bookstore", "istio-ingressgateway-0", ""},
		{"istio-system/istio-ingressgateway", "istio-ingressgateway-0", ""},
		{"default/revews-v1", "", "reviews-v1.default,"},
		{"gateway/reviews-v1", "", "istio-ingressgateway.istio-system"},
		{"", "", `no proxy ""`},
	} {
		got, err := m.Find(tc.name)
		if names(got) != tc.want || (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%q: got %q, %v", tc.name, names(got), err)
		}
	}
}

// TestSameEachTime: the same files make the same resources, of proxies that are
// asked for one by one and of all at once.
func TestSameEachTime(t *testing.T) {
	one := map[string]string{}
	m := bookstore(t)
	for _, p := range m.Proxies {
		r, _ := m.Translate(p)
		one[p.Name()] = text(r)
	}
	all := map[string]string{}
	again := bookstore(t)
	again.Each(again.Proxies, func(p offline.Proxy, r *translate.Resources, _ []model.Finding) { all[p.Name()] = text(r) })
	if diff := cmp.Diff(one, all); diff != "" || len(one) < 8 {
		t.Errorf("%d proxies (-one by one +at once):\n%s", len(one), diff)
	}
}

func text(r *translate.Resources) string {
	var b strings.Builder
	for _, url := range []string{wire.TypeListener, wire.TypeRoute, wire.TypeCluster, wire.TypeEndpoint, wire.TypeSecret} {
		for _, x := range r.Of(url) {
			b.WriteString(x.Name + " " + x.Version + "\n")
		}
	}
	return b.String()
}

func TestInput(t *testing.T) {
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}], selector: {app: a}}\n"
	m, err := offline.Load(offline.Options{Paths: []string{file.Stdin}, Stdin: strings.NewReader(service + "---\n" + service)})
	if err != nil || len(m.Snapshot.Services) != 1 {
		t.Fatalf("%v", err)
	}
	twice := false
	for _, f := range m.Findings() {
		twice = twice || strings.HasPrefix(f.String(), "standard input:6: Service default/a: is there twice")
	}
	if !twice {
		t.Errorf("got %v", m.Findings())
	}
	for _, paths := range [][]string{{"testdata/none"}, {t.TempDir()}, nil} {
		if _, err := offline.Load(offline.Options{Paths: paths}); err == nil {
			t.Errorf("%v was read", paths)
		}
	}
}
