package mesh

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestControlPlaneKilled: the control plane is killed again and again, at moments that
// nobody chose, while configuration changes and all kinds of proxies carry traffic: no
// call is lost, and what changed meanwhile holds at the end.
func TestControlPlaneKilled(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	kinds := []string{"go", "envoy", "none"}
	// Both subsets are always routed to: grpc-go loses a call where a control plane that
	// has just begun leads it to a cluster that it does not have (docs/PROXYLESS.md).
	swap := func(i int) {
		subsets := []any{"go", "none"}
		p.write("routes", fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: [all]
  http:
  - match: [{headers: {other: {}}}]
    route: [{destination: {host: all, subset: %s}}]
  - route: [{destination: {host: all, subset: %s}}]
`, subsets[(i+1)%2], subsets[i%2]))
	}
	swap(0)
	for _, from := range kinds {
		p.expect(from, "all", 6, all("go-", from, secured(from)))
		load := url.Values{"target": {target(from, "all")}, "id": {"killed"}, "timeout": {"20s"}}
		if _, err := p.ask(from, "load", load); err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 5 {
		swap(i)
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
		old := p.controlPlane()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.eventually("the control plane is back", func() error {
			if now := p.controlPlane(); now == 0 || now == old {
				return fmt.Errorf("process %d", now)
			}
			return nil
		})
	}
	for _, from := range kinds {
		p.expect(from, "all", 4, all("go-", from, secured(from)))
		p.expect(from, "all", 4, all("none-", from, secured(from)), "header", "other=1")
	}
	for _, from := range kinds {
		out, err := p.ask(from, "end", url.Values{"id": {"killed"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Errors) > 0 || len(out.By) == 0 {
			t.Errorf("%s lost calls: %v (answered: %v)", from, out.Errors, out.By)
		}
	}
}

// controlPlane is the process of the mesh's control plane; 0: there is none.
func (p peers) controlPlane() int {
	p.t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		p.t.Fatal(err)
	}
	for _, path := range list {
		raw, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(raw, []byte("\x00control\x00--config\x00"+p.folder+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			p.t.Fatal(err)
		}
		return pid
	}
	return 0
}
