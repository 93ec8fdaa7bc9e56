package grpcproxyless

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// TestJS: grpc-js beside grpc-go, each as client and as server, with mTLS.
func TestJS(t *testing.T) {
	t.Parallel()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node")
	}
	if os.Getenv("WEFT_GRPC_JS") == "" {
		t.Skip("WEFT_GRPC_JS names no folder with @grpc/grpc-js and @grpc/grpc-js-xds: see .ci/run")
	}
	m := start(t, 0)
	m.write("echo", echo)
	javascript := func(name string, app string, number byte, server bool) *peer {
		// Its server listens on all addresses, whatever it is told.
		p := m.addAt(name, app, number, freeport.Port(t))
		p.control = fmt.Sprintf("127.0.0.1:%d", freeport.Port(t))
		args := []string{"js/peer.js", p.control}
		if server {
			args = append(args, netip.AddrPortFrom(p.address, p.port).String())
		}
		p.start(exec.Command(node, args...))
		eventually(t, name+" runs", func() error {
			r, err := http.Get("http://" + p.control + "/healthz")
			if err == nil {
				r.Body.Close()
			}
			return err
		})
		return p
	}
	m.add("a", "echo", 1).run(true)
	javascript("b", "echo", 2, true)
	callers := []*peer{m.add("gopher", "client", 3).run(false), javascript("node", "client", 4, false)}
	for _, c := range callers {
		c.expect(c.name+" reaches both", 6, func(o outcome) error {
			for by := range o.By {
				if want := "spiffe://cluster.local/ns/default/sa/" + c.name; len(by) < 2+len(want) || by[2:2+len(want)] != want {
					return fmt.Errorf("a server saw %q, want %s", by, want)
				}
			}
			return answered("a", "b")(o)
		})
	}
	m.write("routes", subsets+`
  - match: [{headers: {to: {exact: a}}}]
    route: [{destination: {host: echo, subset: a}}]
  - match: [{headers: {no: {}}}]
    fault: {abort: {grpcStatus: DATA_LOSS, percentage: {value: 100}}}
    route: [{destination: {host: echo, subset: a}}]
  - route: [{destination: {host: echo, subset: b}}]
`)
	for _, c := range callers {
		c.expect(c.name+": by header", 4, answered("a"), "header", "to=a")
		c.expect(c.name+": the rest", 4, answered("b"))
	}
	callers[1].expect("fault", 1, failed("DATA_LOSS"), "header", "no=1")
	m.write("policy", `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  action: DENY
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/gopher]}}]}]
`)
	callers[0].expect("gopher is refused by both", 2, failed("PermissionDenied"))
	callers[0].expect("gopher is refused by both", 2, failed("PermissionDenied"), "header", "to=a")
	callers[1].expect("node is not", 2, answered("b"))
}
