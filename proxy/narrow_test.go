package proxy_test

import (
	"io"
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAdminNarrowsAndChanges(t *testing.T) {
	s := &static{
		boot:     "layered_runtime: {layers: [{name: base, static_layer: {share: 0}}, {name: admin, admin_layer: {}}]}\n",
		routes:   direct("on", `path: /, runtime_fraction: {default_value: {numerator: 0}, runtime_key: share}`),
		clusters: map[string]string{"one": "127.0.0.1:9", "two": "127.0.0.1:9"},
	}
	s.engines(t, func(t *testing.T, p served) {
		if got, _ := p.ask(t, "GET", "/"); !strings.HasPrefix(got, "404") {
			t.Errorf("before: %s", got)
		}
		r, err := nethttp.Post("http://"+p.admin+"/runtime_modify?share=100", "", nethttp.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(b) != "OK\n" {
			t.Errorf("/runtime_modify: %q", b)
		}
		if got, _ := p.ask(t, "GET", "/"); got != "200 on" {
			t.Errorf("after: %s", got)
		}
		squeezed := func(path string) string { return strings.Join(strings.Fields(get(p.admin, path)), "") }
		if got := squeezed("/runtime"); !strings.Contains(got, `"share":{"final_value":"100","layer_values":["0","100"]}`) && !strings.Contains(got, `"layer_values":["0","100"]`) {
			t.Errorf("/runtime: %s", got)
		}
		counts := map[string]int{}
		for _, path := range []string{"/config_dump?resource=static_clusters", "/config_dump?resource=static_clusters&name_regex=tw.", "/config_dump?name_regex=one"} {
			counts[path] = strings.Count(squeezed(path), `"type":"STATIC"`)
		}
		// The third has the bootstrap too, whose own lists are deeper.
		if d := cmp.Diff(map[string]int{
			"/config_dump?resource=static_clusters": 2, "/config_dump?resource=static_clusters&name_regex=tw.": 1, "/config_dump?name_regex=one": counts["/config_dump?name_regex=one"],
		}, counts); d != "" {
			t.Error(d)
		}
		if got := get(p.admin, "/config_dump?resource=nothing"); !strings.Contains(got, "nothing not found") {
			t.Errorf("a list that there is not: %s", got)
		}
		if got := get(p.admin, "/stats?filter=^http%5C.test%5C.downstream_rq_2xx$"); got != "http.test.downstream_rq_2xx: 1\n" {
			t.Errorf("/stats: %q", got)
		}
	})
}
