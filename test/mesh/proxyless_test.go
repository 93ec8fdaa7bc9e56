package mesh

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// threeKinds is a mesh of one gRPC program under three engines: Weft's proxy, Envoy, and
// none, where gRPC itself speaks xDS. All traffic has to be mTLS.
const threeKinds = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
# The program without a proxy is told over plain HTTP whom to call.
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: none}
spec:
  selector: {matchLabels: {kind: none}}
  portLevelMtls: {8081: {mode: DISABLE}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /go/}}]
    rewrite: {uri: /}
    route: [{destination: {host: go-peer, port: {number: 8081}}}]
  - match: [{uri: {prefix: /envoy/}}]
    rewrite: {uri: /}
    route: [{destination: {host: envoy-peer, port: {number: 8081}}}]
  - match: [{uri: {prefix: /none/}}]
    rewrite: {uri: /}
    route: [{destination: {host: none-peer, port: {number: 8081}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all}
spec:
  host: all
  subsets:
  - {name: go, labels: {kind: go}}
  - {name: none, labels: {kind: none}}
---
apiVersion: v1
kind: Service
metadata: {name: all}
spec: {selector: {app: peer}, ports: [{name: grpc, port: 7070}]}
`

const oneKind = `
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: %[1]s, labels: {app: peer, kind: %[1]s, security.istio.io/tlsMode: istio}}
spec:
  command: [%[2]s%[3]s]
  serviceAccountName: %[1]s
  sidecar: {engine: %[1]s}
  ports: [{name: grpc, containerPort: 7070}, {name: http, containerPort: 8081}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 8081}}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s-peer}
spec: {selector: {kind: %[1]s}, ports: [{name: grpc, port: 7070}, {name: http, port: 8081}]}
`

// peers is a running mesh of three kinds.
type peers struct{ *mesh }

func startPeers(t *testing.T, args ...string) peers {
	t.Helper()
	text := threeKinds
	for kind, flag := range map[string]string{"go": "", "envoy": "", "none": ", -xds"} {
		text += fmt.Sprintf(oneKind, kind, "BIN/peer", flag)
	}
	m := startText(t, text, options{engine: "go", args: args})
	return peers{m}
}

// outcome of calls: how many were answered by which program, whom that saw, and how the
// client's connection was secured; and the errors of the others.
type outcome struct {
	By, Errors map[string]int
}

// ask has a kind of program do something.
func (p peers) ask(kind, what string, q url.Values) (out outcome, err error) {
	a, err := p.try("/"+kind+"/"+what+"?"+q.Encode(), "")
	if err != nil {
		return out, err
	}
	if a.code != 200 {
		return out, fmt.Errorf("%d %s", a.code, a.body)
	}
	if what == "load" {
		return out, nil
	}
	err = json.Unmarshal([]byte(a.body), &out)
	return out, err
}

// target is how a kind of program names a service.
func target(kind, service string) string {
	if kind == "none" {
		return "xds:///" + service + ":7070"
	}
	return "dns:///" + service + ".default.svc.cluster.local:7070"
}

// expect waits until n calls of a kind to a service have the outcome.
func (p peers) expect(kind, service string, n int, check func(outcome) error, more ...string) {
	p.t.Helper()
	q := url.Values{"target": {target(kind, service)}, "n": {fmt.Sprint(n)}}
	for i := 0; i < len(more); i += 2 {
		q.Add(more[i], more[i+1])
	}
	p.eventually(kind+" calls "+service, func() error {
		out, err := p.ask(kind, "call", q)
		if err == nil {
			err = check(out)
		}
		return err
	})
}

// all demands that every call was answered by programs that begin so, which saw that
// identity, over connections of that kind.
func all(server, account, secured string) func(outcome) error {
	return func(o outcome) error {
		if len(o.Errors) > 0 || len(o.By) == 0 {
			return fmt.Errorf("%v", o)
		}
		for by := range o.By {
			parts := strings.Split(by, " ")
			if !strings.HasPrefix(parts[0], server) || parts[1] != "spiffe://cluster.local/ns/default/sa/"+account || parts[2] != secured {
				return fmt.Errorf("answered by %q", by)
			}
		}
		return nil
	}
}

// secured is how a kind of program secures its connections itself.
func secured(kind string) string {
	if kind == "none" {
		return "tls"
	}
	return "insecure" // its proxy takes them
}

// refused demands that every call failed so.
func refused(status string) func(outcome) error {
	return func(o outcome) error {
		for e := range o.Errors {
			if !strings.HasPrefix(e, status+":") {
				return fmt.Errorf("failed with %q", e)
			}
		}
		if len(o.By) > 0 || len(o.Errors) == 0 {
			return fmt.Errorf("%v", o)
		}
		return nil
	}
}

// TestProxyless: Weft's proxy, Envoy and gRPC without a proxy call each other, all
// with mTLS; routes, subsets, policies and changes hold without a proxy.
func TestProxyless(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	kinds := []string{"go", "envoy", "none"}
	for _, from := range kinds {
		for _, to := range kinds {
			p.expect(from, to+"-peer", 3, all(to+"-", from, secured(from)))
		}
	}
	p.shares()
	p.policies()
	p.changes()
	if st := p.status(); len(st.Proxies) == 0 {
		t.Error("no proxies are shown")
	} else {
		for _, x := range st.Proxies {
			for url, typ := range x.Types {
				if typ.Error != "" {
					t.Errorf("%s refused %s: %s", x.Name, url, typ.Error)
				}
			}
		}
	}
}

// shares: one service of all three, by weights and by a header.
func (p peers) shares() {
	p.t.Helper()
	p.expect("none", "all", 12, func(o outcome) error { // round robin reaches every instance
		if len(o.By) != 3 || len(o.Errors) > 0 {
			return fmt.Errorf("%v", o)
		}
		return nil
	})
	p.write("routes", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: [all]
  http:
  - match: [{headers: {to: {exact: none}}}]
    route: [{destination: {host: all, subset: none}}]
  - match: [{headers: {to: {exact: nobody}}}]
    fault: {abort: {grpcStatus: DATA_LOSS, percentage: {value: 100}}}
    route: [{destination: {host: all, subset: none}}]
  - route:
    - {destination: {host: all, subset: go}, weight: 100}
    - {destination: {host: all, subset: none}, weight: 0}
`)
	for _, from := range []string{"none", "go", "envoy"} {
		p.expect(from, "all", 6, all("go-", from, secured(from)))
		p.expect(from, "all", 6, all("none-", from, secured(from)), "header", "to=none")
		p.expect(from, "all", 2, refused("DataLoss"), "header", "to=nobody")
	}
}

// policies: a server without a proxy enforces them.
func (p peers) policies() {
	p.t.Helper()
	p.write("policy", `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: none}
spec:
  selector: {matchLabels: {kind: none}}
  action: DENY
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/envoy]}}]
    to: [{operation: {paths: [/grpc.testing.TestService/UnaryCall]}}]
`)
	p.expect("envoy", "none-peer", 2, refused("PermissionDenied"))
	p.expect("go", "none-peer", 2, all("none-", "go", "insecure"))
	p.expect("none", "none-peer", 2, all("none-", "none", "tls"))
	if err := os.Remove(filepath.Join(p.folder, "policy.yaml")); err != nil {
		p.t.Fatal(err)
	}
	p.expect("envoy", "none-peer", 2, all("none-", "envoy", "insecure"))
}

// changes: routes and subsets come and go, and instances too, without a lost call.
func (p peers) changes() {
	p.t.Helper()
	load := url.Values{"target": {target("none", "all")}, "id": {"changes"}, "timeout": {"20s"}}
	if _, err := p.ask("none", "load", load); err != nil {
		p.t.Fatal(err)
	}
	for i := range 4 {
		subset, rule := "go", "[{name: go, labels: {kind: go}}]"
		if i%2 == 0 { // the other subset, which is new, as the one before is gone
			subset, rule = "other", "[{name: other, labels: {kind: envoy}}]"
		}
		p.write("routes", fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: [all]
  http: [{route: [{destination: {host: all, subset: %s}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all}
spec: {host: all, subsets: %s}
`, subset, rule))
		if i == 0 {
			p.drop("mesh.yaml", "kind: DestinationRule")
		}
		server := map[string]string{"go": "go-", "other": "envoy-"}[subset]
		p.expect("none", "all", 3, all(server, "none", "tls"))
	}
	out, err := p.ask("none", "end", load)
	if err != nil {
		p.t.Fatal(err)
	}
	if len(out.Errors) > 0 {
		p.t.Errorf("lost calls: %v (answered: %v)", out.Errors, out.By)
	}
}

// write replaces a file of the folder.
func (p peers) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.folder, name+".yaml")
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		p.t.Fatal(err)
	}
}

// drop takes the document with a text out of a file of the folder.
func (p peers) drop(name, text string) {
	p.t.Helper()
	raw, err := os.ReadFile(filepath.Join(p.folder, name))
	if err != nil {
		p.t.Fatal(err)
	}
	var kept []string
	for doc := range strings.SplitSeq(string(raw), "\n---\n") {
		if !strings.Contains(doc, text) {
			kept = append(kept, doc)
		}
	}
	p.write(strings.TrimSuffix(name, ".yaml"), strings.Join(kept, "\n---\n"))
}
