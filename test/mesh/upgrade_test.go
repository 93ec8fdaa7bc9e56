package mesh

import (
	"strings"
	"testing"
)

// TestUpgradeOfProxies replaces all proxies under load, twice, and none by a
// program that is no proxy.
func TestUpgradeOfProxies(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]options{
		"redirect": {engine: "go"}, "ordinary user": {engine: "go", user: true}, "capture proxy": {engine: "go", capture: "proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			m := s.open(t, o)
			stop := m.load("/api/reviews/loom")
			for n := range 2 {
				out := m.must("upgrade", "--all", "--max-unavailable", "3")
				if !strings.Contains(out, "istio-ingressgateway") || !strings.Contains(out, "reviews-v1-0.default: upgraded") {
					t.Errorf("upgrade said:\n%s", out)
				}
				for _, i := range m.status().Instances {
					if i.Engine == "go" && (i.Proxy == nil || i.Proxy.Generation != n+1) {
						t.Errorf("%s: %+v, want generation %d", i.Name, i.Proxy, n+1)
					}
				}
			}
			if out, code := m.weft("upgrade", "web-0", "--binary", "/bin/false"); code != 1 || !strings.Contains(out, "the new process ended: exit code 1") {
				t.Errorf("upgrade to a program that is no proxy: %d\n%s", code, out)
			}
			if p := m.instance("web-0").Proxy; p == nil || p.Generation != 2 {
				t.Errorf("after that: %+v", p)
			}
			if sent, bad := stop(); len(bad) > 0 || sent == 0 {
				t.Errorf("%d of %d requests failed: %q", len(bad), sent, bad[:min(len(bad), 5)])
			}
			m.eventually("everything is ready and in sync", func() error {
				m.must("status")
				return nil
			})
		})
	}
}
