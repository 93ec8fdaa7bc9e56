package golden

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/test/istiodata"
	"github.com/weftmesh/weft/test/peers/istiod/oracle"
	"github.com/weftmesh/weft/wire"
)

// Why some outcomes are written otherwise than Istio's, and mean the same.
const (
	suffixes = "a principal that begins with * is a suffix here, a regular expression there"
	accounts = "service accounts are exact here: the trust domain has no slash, nothing stands before or behind"
)

// istioAuthz are cases of Istio's test of its authorization: what goes in, what comes
// out of that, and the MeshConfig that the test has in its code.
var istioAuthz = []struct{ in, mesh, differs string }{
	{in: "http/allow-empty-rule"}, {in: "http/allow-nil-rule"},
	{in: "http/allow-full-rule", differs: accounts}, {in: "http/allow-path", differs: "path templates are regular expressions here"},
	{in: "http/audit-full-rule"}, {in: "http/deny-and-allow"}, {in: "http/deny-empty-rule"}, {in: "http/dry-run-allow-and-deny"},
	{in: "http/dry-run-allow"}, {in: "http/dry-run-mix"}, {in: "http/multiple-policies", differs: "names of headers are in lower case here, as requests have them"},
	{in: "http/single-policy", differs: "names of headers are in lower case here, as requests have them"},
	{in: "http/simple-policy-td-aliases", mesh: "trustDomain: td1\ntrustDomainAliases: [cluster.local]\n"},
	{in: "http/simple-policy-multiple-td-aliases", mesh: "trustDomain: td1\ntrustDomainAliases: [cluster.local, some-td]\n"},
	{in: "http/simple-policy-principal-with-wildcard", mesh: "trustDomain: td1\ntrustDomainAliases: [foobar]\n", differs: suffixes},
	{in: "http/td-aliases-source-principal", mesh: "trustDomain: new-td\ntrustDomainAliases: [old-td, some-trustdomain]\n", differs: suffixes},
	{in: "http/trust-domains"},
	{in: "tcp/allow-both-http-tcp"}, {in: "tcp/allow-only-http"}, {in: "tcp/audit-both-http-tcp"}, {in: "tcp/deny-both-http-tcp", differs: suffixes}, {in: "tcp/dry-run-mix"},
}

// authzBase is a workload that the policies of these cases are for.
const authzBase = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: httpbin, namespace: foo}
spec:
  hosts: [httpbin.foo.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  addresses: [10.96.9.1]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9000, name: tcp, protocol: TCP}]
  workloadSelector: {labels: {app: httpbin}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: httpbin, namespace: foo}
spec: {address: 10.244.9.1, labels: {app: httpbin, version: v1}}
---
`

// TestIstioAuthz compares what authorization comes out with what Istio's own test
// expects, by meaning.
func TestIstioAuthz(t *testing.T) {
	dir := filepath.Join(istiodata.Dir(t), "pilot/pkg/security/authz/builder/testdata")
	for _, c := range istioAuthz {
		t.Run(c.in, func(t *testing.T) {
			want := authzWant(t, filepath.Join(dir, c.in))
			got := authzGot(t, filepath.Join(dir, c.in+"-in.yaml"), c.mesh, strings.HasPrefix(c.in, "tcp/"))
			a, b := formOf(t, want), formOf(t, got)
			if found := oracle.Compare(a, b); (len(found) > 0) != (c.differs != "") {
				t.Errorf("said to differ because %q; istiod is Istio's test: %v", c.differs, found)
			}
		})
	}
}

// authzWant is what Istio's test expects: a file or several.
func authzWant(t *testing.T, base string) *listenerv3.Listener {
	t.Helper()
	files, err := filepath.Glob(base + "-out*.yaml")
	if err != nil || len(files) == 0 {
		t.Skipf("Istio's test has no %s any more", filepath.Base(base))
	}
	h, chain := &hcmv3.HttpConnectionManager{}, &listenerv3.FilterChain{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		raw, err = yaml.YAMLToJSON(raw)
		if err != nil {
			t.Fatal(err)
		}
		var m proto.Message
		if strings.Contains(base, "/tcp/") {
			x := &listenerv3.Filter{}
			chain.Filters, m = append(chain.Filters, x), x
		} else {
			x := &hcmv3.HttpFilter{}
			h.HttpFilters, m = append(h.HttpFilters, x), x
		}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(raw, m); err != nil {
			t.Fatal(err)
		}
	}
	return policiesOnly(t, h, chain)
}

// authzGot is what comes out here.
func authzGot(t *testing.T, in, mesh string, tcp bool) *listenerv3.Listener {
	t.Helper()
	raw, err := os.ReadFile(in)
	if err != nil {
		t.Skip(err)
	}
	c := &oneCase{proxies: map[string]proxySpec{"server": {Workload: "foo/httpbin"}}, inputs: []txtar.File{
		{Name: "base.yaml", Data: []byte(authzBase)}, {Name: "mesh.yaml", Data: []byte(mesh)}, {Name: "in.yaml", Data: raw},
	}}
	r, _ := c.translate(t, "server")
	for _, l := range messages(t, r, wire.TypeListener, func() *listenerv3.Listener { return &listenerv3.Listener{} }) {
		for _, ch := range l.FilterChains {
			m := ch.FilterChainMatch
			if l.Name != wire.VirtualInbound || m.GetTransportProtocol() != "raw_buffer" || m.GetDestinationPort().GetValue() != map[bool]uint32{false: 80, true: 9000}[tcp] {
				continue
			}
			h := &hcmv3.HttpConnectionManager{}
			for _, f := range ch.Filters {
				if f.GetTypedConfig().MessageIs(h) {
					if err := f.GetTypedConfig().UnmarshalTo(h); err != nil {
						t.Fatal(err)
					}
				}
			}
			return policiesOnly(t, h, ch)
		}
	}
	t.Fatal("the server has no chain for its port")
	return nil
}

// policiesOnly is a listener with the filters of authorization and no others.
func policiesOnly(t *testing.T, h *hcmv3.HttpConnectionManager, chain *listenerv3.FilterChain) *listenerv3.Listener {
	t.Helper()
	is := func(name string) bool {
		return strings.HasSuffix(name, ".rbac") || strings.HasSuffix(name, ".ext_authz")
	}
	raw, err := anypb.New(&hcmv3.HttpConnectionManager{HttpFilters: slices.DeleteFunc(h.HttpFilters, func(f *hcmv3.HttpFilter) bool { return !is(f.Name) })})
	if err != nil {
		t.Fatal(err)
	}
	filters := slices.DeleteFunc(chain.Filters, func(f *listenerv3.Filter) bool { return !is(f.Name) })
	filters = append(filters, &listenerv3.Filter{Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: raw}})
	return &listenerv3.Listener{Name: "x", FilterChains: []*listenerv3.FilterChain{{Filters: filters}}}
}

func formOf(t *testing.T, l *listenerv3.Listener) *oracle.Form {
	t.Helper()
	f, err := oracle.NewForm(&oracle.Resources{Listeners: []*listenerv3.Listener{l}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// judgedOtherwise are documents of Istio's tests of validation on which Weft says something
// else, and why.
var judgedOtherwise = map[string]string{
	"envoyfilter-invalid.yaml#0": "waypoints are not there: the patch has no effect, which a warning says",
	"envoyfilter-invalid.yaml#1": "as above",
	"envoyfilter-invalid.yaml#2": "as above",
	"serviceentry-valid.yaml#2":  "a service without ports leads nowhere, and is refused here",
	"serviceentry-valid.yaml#3":  "as above",
	"serviceentry-valid.yaml#4":  "as above",
	"workloadentry-valid.yaml#1": "a workload in another network without an address is reached by a gateway of that: there is one network here",
}

// TestIstioValidation: what Istio's tests of validation call valid has no fault here, and
// what they call invalid has one.
func TestIstioValidation(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(istiodata.Dir(t), "pkg/config/validation/testdata/crds/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Skip("Istio's tests of validation are elsewhere now")
	}
	compared, left := 0, map[string]bool{}
	for name := range judgedOtherwise {
		left[name] = true
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(filepath.Base(f), "-")
		if kind == "wasm" {
			continue // not among the kinds that Weft carries out
		}
		for i, doc := range bytes.Split(raw, []byte("\n---\n")) {
			name := fmt.Sprintf("%s#%d", filepath.Base(f), i)
			want, doc := isInvalid(t, doc)
			if string(doc) == "null\n" {
				continue
			}
			_, found := file.Decode(doc, name)
			got := slices.ContainsFunc(found, func(f model.Finding) bool { return f.Severity == model.Error })
			compared++
			delete(left, name)
			if why := judgedOtherwise[name]; (got != want) != (why != "") {
				t.Errorf("%s: refused %v, in Istio %v, said to differ because %q:\n%s\n%v", name, got, want, why, doc, found)
			}
		}
	}
	for name := range left {
		t.Errorf("%s is not there any more", name)
	}
	t.Logf("%d documents compared", compared)
}

// isInvalid takes out what Istio's test expects to be said of a document.
func isInvalid(t *testing.T, doc []byte) (bool, []byte) {
	t.Helper()
	var fields map[string]any
	if err := yaml.Unmarshal(doc, &fields); err != nil {
		t.Fatal(err)
	}
	_, bad := fields["_err"]
	delete(fields, "_err")
	out, err := yaml.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return bad, out
}

// TestIstioInputs: what Istio's conversion of Gateway API is tested with comes out valid,
// is accepted by our own proxy, and the order of objects makes no difference.
func TestIstioInputs(t *testing.T) {
	dir := filepath.Join(istiodata.Dir(t), "pilot/pkg/config/kube/gateway/testdata")
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Skip("Istio's test data is elsewhere now")
	}
	made := 0
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c := &oneCase{file: &caseFile{path: "istio.txtar"}, name: filepath.Base(f), proxies: commonProxies(), inputs: []txtar.File{{Name: "in.yaml", Data: raw}}}
		t.Run(c.name, func(t *testing.T) {
			for _, p := range sortedKeys(c.proxies) {
				r, _ := c.translate(t, p)
				made += len(r.Of(wire.TypeListener)) + len(r.Of(wire.TypeRoute))
				for _, list := range r.ByType {
					for _, x := range list {
						if err := valid(x.Body); err != nil {
							t.Errorf("%s: %s: %v", p, x.Name, err)
						}
					}
				}
				accept(t, r)
			}
			shuffled(t, c)
		})
	}
	t.Logf("%d files, %d listeners and routes", len(files), made)
}
