// Package golden runs configuration through the whole control plane, from YAML
// to xDS, and compares what comes out with what is written down: one txtar file
// per feature.
//
//	go test ./test/golden            compare
//	go test ./test/golden -update    write what comes out, remove what is stale
//
// An archive holds the user's files (*.yaml), proxy.json (who asks, and which
// resources the file is about), and after them the expected ones under want/.
// Every Process gets its replicas as ready workloads with addresses counted up
// from 10.244.0.2. SmartLimiters are evaluated with how many replicas there are; nobody reports other numbers.
package golden

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/attach"
	"github.com/weftmesh/weft/control/limiter"
	"github.com/weftmesh/weft/control/limiter/metric"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/control/source/process"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

var update = flag.Bool("update", false, "rewrite the expected resources")

// proxySpec is proxy.json.
type proxySpec struct {
	// Workload is "namespace/name" of the instance, e.g. "default/reviews-v1-0".
	Workload string `json:"workload"`
	// Gateway: the proxy is a gateway with these labels at this address.
	Gateway bool              `json:"gateway,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Engine  string            `json:"engine,omitempty"`
	// Metadata are further entries of the node's metadata.
	Metadata map[string]string `json:"metadata,omitempty"`
	// HTTPProxyPort is set in capture mode "proxy".
	HTTPProxyPort string `json:"httpProxyPort,omitempty"`
	// Inbound is that mode's port table of the workload.
	Inbound map[uint16]wire.ReplicaPort `json:"inbound,omitempty"`
	// IPv6 and IPv4 say which families workloads have; neither: IPv4.
	IPv4 bool `json:"ipv4,omitempty"`
	IPv6 bool `json:"ipv6,omitempty"`
	// Locality is "region/zone/subzone" of workloads by App.
	Locality map[string]string `json:"locality,omitempty"`
	NotReady []string          `json:"notReady,omitempty"`
	// OnDemand: the proxy asks, for these names: virtual hosts "on-demand/…", others are
	// clusters.
	OnDemand []string `json:"onDemand,omitempty"`
	// Proxyless: it is no proxy but gRPC that asks, for these, as "type/name".
	Proxyless []string `json:"proxyless,omitempty"`
	// Show are patterns (path.Match) of "type/name" that are compared, e.g.
	// "cluster/outbound|9080*"; none: everything.
	Show []string `json:"show,omitempty"`
}

// proxy is who asks; engine overrides its own.
func (s proxySpec) proxy(engine string) scope.Proxy {
	namespace, name, _ := strings.Cut(s.Workload, "/")
	if engine == "" {
		engine = s.Engine
	}
	p := scope.Proxy{
		ID: wire.NodeID{
			Type: wire.Sidecar, Name: name, Namespace: namespace, IP: "10.244.0.200",
			Domain: namespace + ".svc.cluster.local",
		},
		Meta: wire.NodeMetadata{
			Engine: engine, HTTPProxyPort: s.HTTPProxyPort, Labels: s.Labels, Namespace: namespace,
		},
	}
	if s.Gateway {
		p.ID.Type = wire.Router
	}
	p.Raw = s.Metadata
	return p
}

// short names of types, in the order in which they are written.
var types = []struct{ short, url string }{
	{"listener", wire.TypeListener},
	{"route", wire.TypeRoute},
	{"virtualhost", wire.TypeVirtualHost},
	{"cluster", wire.TypeCluster},
	{"endpoint", wire.TypeEndpoint},
	{"secret", wire.TypeSecret},
	{"host", wire.TypeHost},
	{"workload", wire.TypeWorkload},
}

func TestGolden(t *testing.T) {
	for _, name := range archives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			in := read(t, name)
			resources, findings := in.translate(t, "")
			got := in.render(t, resources, findings)
			if *update {
				in.write(t, got)
				return
			}
			for _, f := range in.want {
				if _, ok := got[f.Name]; !ok {
					t.Errorf("%s is expected, but nothing like it came out", f.Name)
				}
			}
			for _, n := range sortedKeys(got) {
				if diff := cmp.Diff(in.expected(n), got[n]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", n, diff)
				}
			}
		})
	}
}

func archives(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(list) == 0 {
		t.Fatalf("no archives in testdata: %v", err)
	}
	return list
}

// archive is one parsed file.
type archive struct {
	path    string
	comment []byte
	inputs  []txtar.File
	want    []txtar.File
	spec    proxySpec
}

func read(t *testing.T, name string) *archive {
	t.Helper()
	parsed, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{path: name, comment: parsed.Comment}
	for _, f := range parsed.Files {
		if strings.HasPrefix(f.Name, "want/") {
			a.want = append(a.want, f)
			continue
		}
		a.inputs = append(a.inputs, f)
		if f.Name == "proxy.json" {
			dec := json.NewDecoder(bytes.NewReader(f.Data))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&a.spec); err != nil {
				t.Fatalf("%s: proxy.json: %v", name, err)
			}
		}
	}
	return a
}

func (a *archive) expected(name string) string {
	for _, f := range a.want {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// snapshot decodes the inputs and merges them as the control plane does.
func (a *archive) snapshot(t *testing.T) *model.Snapshot {
	t.Helper()
	files := model.Delta{Source: "file", Full: true}
	for _, f := range a.inputs {
		if !strings.HasSuffix(f.Name, ".yaml") {
			continue
		}
		objects, findings := file.Decode(f.Data, f.Name)
		files.Upserts = append(files.Upserts, objects...)
		files.Findings = append(files.Findings, findings...)
	}
	running := model.Delta{Source: "process", Full: true}
	for _, o := range files.Upserts {
		if p, ok := o.(*model.Process); ok {
			running.Upserts = append(running.Upserts, a.replicas(p, len(running.Upserts))...)
		}
	}
	families := []int{4}
	if a.spec.IPv6 {
		families = []int{6}
		if a.spec.IPv4 {
			families = []int{4, 6}
		}
	}
	p := snapshot.New(snapshot.Options{Sources: []string{"file", "process", limiter.Name}, Attach: attach.Attach, Addresses: snapshot.Addresses{Families: families}})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	limits := make(chan error, 1)
	go func() {
		limits <- limiter.New(p.Cell(), metric.NewStore(), slog.New(slog.DiscardHandler)).Run(ctx, p.In())
	}()
	p.In() <- files
	p.In() <- running
	for {
		changed := p.Cell().Changed()
		if s := p.Cell().Load(); s != nil && len(s.Limits) == len(s.Limiters) {
			cancel()
			<-done
			<-limits
			return s
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("no snapshot came")
		}
	}
}

// replicas are the running instances of a process.
func (a *archive) replicas(p *model.Process, n int) []model.Object {
	var out []model.Object
	for i := range max(p.Replicas, 1) {
		at := n + i + 2
		r := wire.Replica{
			Name: p.Key.Name + "-" + strconv.Itoa(i), App: p.Key.Name, Namespace: p.Key.Namespace, Cluster: "Kubernetes",
			Labels: p.Labels, ServiceAccount: p.ServiceAccount, TrustDomain: "cluster.local",
			Ready: true, Mesh: p.Engine != "none", Engine: p.Engine, Ports: map[string]uint16{},
		}
		if a.spec.IPv4 || !a.spec.IPv6 {
			r.Addresses = append(r.Addresses, netip.AddrFrom4([4]byte{10, 244, 0, byte(at)}))
		}
		if a.spec.IPv6 {
			r.Addresses = append(r.Addresses, netip.MustParseAddr("fd00:10:244::"+strconv.FormatInt(int64(at), 16)))
		}
		for _, port := range p.Ports {
			r.Ports[port.Name] = port.Port
		}
		parts := strings.Split(a.spec.Locality[r.App]+"//", "/")
		r.Region, r.Zone, r.SubZone = parts[0], parts[1], parts[2]
		r.Ready = !slices.Contains(a.spec.NotReady, r.Name)
		if a.spec.HTTPProxyPort != "" {
			r.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		if r.Namespace+"/"+r.Name == a.spec.Workload {
			r.Inbound = a.spec.Inbound
		}
		out = append(out, process.Workload(&r))
	}
	return out
}

// translate makes the resources; engine overrides the archive's.
func (a *archive) translate(t *testing.T, engine string) (*translate.Resources, []model.Finding) {
	t.Helper()
	s := a.snapshot(t)
	p := a.spec.proxy(engine)
	p.OnDemand = a.spec.OnDemand != nil
	asked := translate.Asked{wire.TypeVirtualHost: {}, wire.TypeCluster: {}}
	for _, name := range a.spec.OnDemand {
		typ := wire.TypeCluster
		if strings.HasPrefix(name, wire.OnDemandRoute+"/") {
			typ = wire.TypeVirtualHost
		}
		asked[typ][name] = true
	}
	for _, name := range a.spec.Proxyless {
		p.Meta.Generator, p.OnDemand = wire.GeneratorGRPC, true
		short, name, _ := strings.Cut(name, "/")
		for _, ty := range types {
			if ty.short == short && asked[ty.url] == nil {
				asked[ty.url] = map[string]bool{}
			}
			if ty.short == short {
				asked[ty.url][name] = true
			}
		}
	}
	r, findings := translate.TranslateAsked(scope.Build(scope.NewIndex(s), p), translate.Ask{Names: asked})
	return r, append(slices.Clone(s.Findings), findings...)
}

// render writes resources as YAML, one file each.
func (a *archive) render(t *testing.T, r *translate.Resources, findings []model.Finding) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, ty := range types {
		for _, res := range r.Of(ty.url) {
			name := ty.short + "/" + res.Name
			if !a.shown(name) || res.Body == nil {
				continue
			}
			m, err := res.Body.UnmarshalNew()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			raw, err := protojson.Marshal(m)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			text, err := yaml.JSONToYAML(raw)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out["want/"+name] = string(text)
		}
	}
	var lines []string
	for _, f := range findings {
		lines = append(lines, f.Code+" "+f.Severity.String()+" "+f.String()+"\n")
	}
	if len(lines) > 0 {
		out["want/findings"] = strings.Join(lines, "")
	}
	return out
}

func (a *archive) shown(name string) bool {
	if len(a.spec.Show) == 0 {
		return true
	}
	return slices.ContainsFunc(a.spec.Show, func(p string) bool {
		// Names hold slashes (kubernetes://…), patterns must not care.
		ok, err := path.Match(strings.ReplaceAll(p, "/", "\x00"), strings.ReplaceAll(name, "/", "\x00"))
		return err == nil && ok
	})
}

func (a *archive) write(t *testing.T, got map[string]string) {
	t.Helper()
	out := &txtar.Archive{Comment: a.comment, Files: a.inputs}
	for _, ty := range append(types, struct{ short, url string }{"findings", ""}) {
		for _, n := range sortedKeys(got) {
			if strings.HasPrefix(n, "want/"+ty.short) {
				out.Files = append(out.Files, txtar.File{Name: n, Data: []byte(got[n])})
			}
		}
	}
	raw := txtar.Format(out)
	if old, err := os.ReadFile(a.path); err == nil && bytes.Equal(old, raw) {
		return
	}
	if err := os.WriteFile(a.path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	slog.Info("rewritten", "archive", a.path)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
