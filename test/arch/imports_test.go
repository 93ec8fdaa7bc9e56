// Package arch holds the rules of the code base that a compiler does not:
// which part may import which, who may know Kubernetes and Envoy's protobufs,
// and how long things may be. It reads files and runs no tools, so that Go's
// test cache sees what it depends on.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weftmesh/weft"

// root is the module's folder.
const root = "../.."

// allowed says which parts a part may import. A parent may import its children.
// Only cmd and test see both planes.
var allowed = map[string][]string{
	"base": {}, "api": {"wire/protocol", "wire/thriftidl", "base"}, "wire": {"base"},
	// How protocols are declared: plain Go, for both planes.
	"wire/protocol": {}, "wire/thriftidl": {},

	// The control plane, in the order of its stages.
	"control/model":   {"wire/protocol", "wire/thriftidl", "base"},
	"control/finding": {"control/model", "base"},
	"control/source":  {"control/finding", "control/model", "api", "wire", "wire/protocol", "wire/thriftidl", "base"},
	"control/attach":  {"control/model", "base"},
	"control/patch":   {"control/model", "base"},
	// mcp speaks xDS to a server of configuration.
	"control/source/mcp": {"control/source", "control/model", "base"},
	// limiter is a source, too; quota counts for proxies.
	"control/limiter": {"control/model", "wire", "base"},
	// quota answers by Envoy's protocol of rate limits, too.
	"control/limiter/quota": {"control/model", "wire", "base"},
	"control/check":         {"control/model", "control/patch", "wire", "base"},
	"control/snapshot":      {"control/model", "wire", "base"},
	"control/scope":         {"control/model", "wire", "base"},
	"control/resource":      {},
	"control/translate":     {"control/scope", "control/model", "control/patch", "control/resource", "wire", "base"},
	"control/serve":         {"control/resource", "wire", "base"},
	"control/identity":      {"wire", "base"},
	// mcp offers the snapshot to other control planes.
	"control/mcp": {"control/serve", "control/resource", "control/model", "base"},
	// fleet joins the stages per proxy; console shows what it holds; store is
	// where applied objects are kept.
	"control/fleet": {"control/translate", "control/resource", "control/scope", "control/serve", "control/model", "wire", "base"},
	// gwstatus is of what was found out; console shows it.
	"control/gwstatus": {"control/finding", "control/model"},
	"control/console":  {"control/finding", "control/gwstatus", "control/fleet", "control/translate", "control/resource", "control/serve", "control/model", "wire", "base"},
	"control/store":    {"control/console", "control/source", "control/model", "base"},
	// offline runs the stages without a control plane, for tools.
	"control/offline": {
		"control/source", "control/attach", "control/check", "control/snapshot", "control/translate", "control/resource", "control/scope", "control/model", "wire", "base",
	},
	"control/compare": {"control/offline", "control/console", "control/translate", "control/resource", "control/model", "base"},
	"control":         {"api", "wire", "base"},

	// The data plane.
	"proxy/filter":    {"base"},
	"proxy/transport": {"wire", "base"},
	"proxy/peer":      {"proxy/filter", "base"},
	"proxy/health":    {},
	"proxy/istio":     {"proxy/health", "proxy/xds", "wire", "base"},
	"proxy/route":     {"proxy/filter", "base"},
	"proxy/cluster":   {"proxy/filter", "proxy/transport", "base"},
	"proxy/xds":       {"wire", "base"},
	"proxy/sds":       {"wire", "base"},
	"proxy/proxyless": {"proxy/sds", "wire", "base"},
	"proxy/codec":     {"proxy/filter", "wire/protocol", "wire/thriftidl", "base"},
	"proxy/http":      {"proxy/filter", "proxy/codec", "proxy/peer", "proxy/route", "proxy/cluster", "proxy/transport", "base"},
	// quota leases tokens by Weft's own protocol.
	"proxy/http/quota": {"proxy/filter", "proxy/http", "wire", "base"},
	"proxy/tcp":        {"proxy/filter", "proxy/http", "proxy/cluster", "proxy/transport", "base"},
	"proxy/udp":        {"proxy/filter", "proxy/cluster", "base"},
	"proxy/listener":   {"proxy/filter", "proxy/transport", "base"},
	"proxy/telemetry":  {"proxy/filter", "wire", "base"},
	"proxy/dns":        {"wire", "base"},
	"proxy/relay":      {"proxy/listener", "proxy/transport", "wire", "base"},
	"proxy/admin":      {"base"},
	"proxy/handover":   {"wire", "base"},
	"proxy/redis":      {"proxy/filter", "proxy/route", "proxy/cluster", "proxy/transport", "base"},
	// als speaks Envoy's protocol of access logs.
	"proxy/telemetry/als": {"proxy/telemetry", "proxy/filter", "base"},
	// config decodes into what all of these describe.
	"proxy/config": {
		"proxy/xds", "proxy/filter", "proxy/codec", "proxy/http", "proxy/tcp", "proxy/udp", "proxy/redis", "proxy/listener", "proxy/route", "proxy/cluster", "proxy/transport", "wire", "wire/protocol", "base",
	},
	// agent stands beside an Envoy and uses what is not the data path.
	"proxy/agent": {
		"proxy/istio", "proxy/proxyless", "proxy/admin", "proxy/dns", "proxy/relay", "proxy/sds", "proxy/xds", "proxy/telemetry", "proxy/filter", "proxy/listener", "proxy/transport", "wire", "base",
	},
	"proxy": {"wire", "base"},

	// inject is asked by a webhook, and by hand.
	"kube/inject":         {"control/model", "wire", "base"},
	"kube/inject/webhook": {"kube/inject", "control/model", "base"},
	// kube is what a cluster is given; cluster is what a control plane does in the one that it runs in.
	"control/cluster": {"control/identity", "control/source"},
	"control/status":  {"control/model", "control/source"},
	"kube/crd":        {"control/source"},
	"kube/image":      {},
	"kube/objects":    {},
	"kube/validate":   {"control/source", "control/model"},
	"kube/install":    {"kube/crd", "kube/inject", "kube/objects", "control/cluster", "control/status", "control/source"},
	"kube/check":      {"kube/crd", "kube/objects", "kube/install", "control/cluster"},

	// host knows neither plane. up joins it with the control plane's console; cli
	// talks to both over sockets and shares their JSON types.
	"host": {"wire", "base"},
	// member joins a machine to a mesh that runs elsewhere.
	"member": {"host", "proxy/sds", "proxy/xds", "wire", "base"},
	"cli":    {"control/console", "control/gwstatus", "control/fleet", "control/model", "wire", "base"},
	"up":     {"host", "cli", "control/console", "control/fleet", "control/model", "wire", "base"},
}

// both are the parts that may import everything.
var both = []string{"cmd", "test"}

// foreign are imports from elsewhere that only some parts may have, and why.
var foreign = []struct {
	prefix, why string
	parts       []string
}{
	{"sigs.k8s.io/gateway-api", "Gateway API ends in the front end", []string{"control/source"}},
	{"k8s.io/", "Kubernetes is one source among others", []string{"control/source", "control/cluster", "control/status", "kube/objects", "kube/validate", "kube/install", "kube/check", "kube/inject", "kube/inject/webhook"}},
	{"istio.io/api/networking", "Istio's resources end in the front end", []string{"control/source", "control/source/mcp", "control/mcp"}},
	{"istio.io/api/mesh", "Istio's resources end in the front end", []string{"control/source", "control/source/mcp", "kube/inject", "kube/inject/webhook"}},
	{
		"github.com/envoyproxy/go-control-plane/envoy", "Envoy's messages end where they are decoded",
		[]string{"wire", "control/patch", "control/source/mcp", "control/mcp", "control/translate", "control/serve", "control/fleet", "control/limiter/quota", "control", "proxy/xds", "proxy/sds", "proxy/config", "proxy/agent", "proxy/telemetry/als", "proxy"},
	},
}

// configParsers are folders of filters: Envoy's messages only in their config files, and
// in service.go where they speak the protocol of a service.
var configParsers = []string{"proxy/http/cors", "proxy/http/descriptor", "proxy/http/fault", "proxy/http/filterstate", "proxy/http/jwt", "proxy/http/localrate", "proxy/http/match", "proxy/http/rbac"}

// file is a parsed file of ours.
type file struct {
	dir, name string // relative to the module, with slashes
	ast       *ast.File
	fset      *token.FileSet
	lines     int
}

// files parses everything, generated code left out.
func files(t *testing.T, tests bool) []file {
	t.Helper()
	var out []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if base := d.Name(); rel != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, ".pb.go") || strings.HasSuffix(rel, "_test.go") != tests {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, file{path.Dir(rel), rel, f, fset, fset.Position(f.FileEnd).Line})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d files found: is the module's folder %s?", len(out), root)
	}
	return out
}

// part returns the longest key of allowed that holds a package, or "".
func part(pkg string) (best string) {
	for k := range allowed {
		if (pkg == k || strings.HasPrefix(pkg, k+"/")) && len(k) > len(best) {
			best = k
		}
	}
	return best
}

func free(pkg string) bool {
	first, _, _ := strings.Cut(pkg, "/")
	return slices.Contains(both, first) || first == "examples" || first == "tools"
}

// mayImport tells whether a package of a part may import one of ours.
func mayImport(from, pkg string) bool {
	to := part(pkg)
	return to == from || strings.HasPrefix(to, from+"/") || slices.Contains(allowed[from], to)
}

func TestImportsPointOneWay(t *testing.T) {
	for _, f := range files(t, false) {
		if free(f.dir) {
			continue
		}
		from := part(f.dir)
		if from == "" {
			t.Errorf("%s: the part is in no rule: add it to allowed, with what it may import", f.name)
			continue
		}
		for _, spec := range f.ast.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if pkg, ours := strings.CutPrefix(imp, module+"/"); ours && !mayImport(from, pkg) {
				t.Errorf("%s: %s must not import %s", f.name, from, pkg)
			}
			checkForeign(t, f, from, imp)
		}
	}
}

func checkForeign(t *testing.T, f file, from, imp string) {
	t.Helper()
	for _, rule := range foreign {
		if !strings.HasPrefix(imp, rule.prefix) || slices.Contains(rule.parts, from) {
			continue
		}
		base := path.Base(f.name)
		if (slices.Contains(configParsers, f.dir) || strings.HasPrefix(f.dir, "proxy/http/")) && strings.HasPrefix(rule.prefix, "github.com/envoyproxy") && (base == "config.go" || base == "service.go" || f.dir == "proxy/http/match") {
			continue
		}
		t.Errorf("%s: %s must not import %s: %s", f.name, from, imp, rule.why)
	}
}

// TestTheRulesBite: the rules refuse what they are there for.
func TestTheRulesBite(t *testing.T) {
	for from, pkg := range map[string]string{
		"control": "proxy/http", "proxy": "control/model", "control/model": "wire", "host": "control/console", "control/serve": "control/model", "base": "wire",
	} {
		if mayImport(from, pkg) {
			t.Errorf("%s may import %s", from, pkg)
		}
	}
}
