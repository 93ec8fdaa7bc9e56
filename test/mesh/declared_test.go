package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// TestPrivateProtocol runs examples/private-protocol: a protocol that is declared has routes on its fields, a split, changes,
// faults, mutual TLS, authorization and metrics.
func TestPrivateProtocol(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(work(t), "m")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	port := int(freeport.Port(t))
	for _, name := range []string{"protocol", "mesh", "routes"} {
		raw, err := os.ReadFile(filepath.Join(root, "examples/private-protocol", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), "[go, run, ./orderbook,", "["+bin+"/orderbook,")
		text = strings.ReplaceAll(text, "8088", fmt.Sprint(port))
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := start(t, dir, options{engine: "go"})
	m.base = fmt.Sprintf("http://127.0.0.1:%d", port)
	call := func(query string) string {
		t.Helper()
		return strings.TrimSpace(m.get("/?"+query, "").body)
	}
	for query, want := range map[string]string{
		"op=buy&user=jason": "2 7 code=0: v2 got op=buy user=jason",
		"op=broken":         "3 7 code=failed: fault filter abort",
		"op=cancel":         "3 7 code=failed: RBAC: access denied",
	} {
		if got := call(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	seen := map[string]int{}
	for range 60 {
		seen[call("op=buy&user=jo")]++
	}
	if len(seen) != 2 || seen["2 7 code=0: v1 got op=buy user=jo desk=north"] <= seen["2 7 code=0: v2 got op=buy user=jo desk=north"] {
		t.Errorf("of 60 orders, three of four are v1's: %v", seen)
	}
	m.eventually("metrics", func() error {
		for instance, part := range map[string]string{"shop-0": `reporter="source"`, "orders-v1-0": `reporter="destination"`} {
			if !counted(m.admin(instance, "/stats/prometheus"), "orders", part) {
				return fmt.Errorf("%s has no istio_requests_total of orders with %s", instance, part)
			}
		}
		return nil
	})
}
