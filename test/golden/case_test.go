package golden

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	// Messages that patches bring, to be shown as text.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/attach"
	"github.com/weftmesh/weft/control/check"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/control/translate"
)

// commonBase is the mesh that cases begin with: the one that istiod, as the oracle, is
// given as well.
const commonBase = "../peers/istiod/oracle/testdata/base.yaml"

// fewestCases is how many the corpus has at least.
const fewestCases = 400

// oneCase is one configuration, and what matters of what comes out. A file
// testdata/cases/AREA.txtar has many:
//
//	NAME        YAML: the objects; a comment says what Istio documents
//	NAME/mesh   YAML: MeshConfig
//	NAME/want   YAML: the expected, by what is looked at (see selection)
//
// and for all of its cases, where it is needed: base.yaml in place of commonBase,
// more.yaml behind that, mesh.yaml, and proxies.yaml in place of commonProxies.
type oneCase struct {
	file    *caseFile
	name    string
	inputs  []txtar.File
	proxies map[string]proxySpec
	want    yamlv3.Node

	// What it amounts to, once it was asked for.
	objects  []model.Object
	findings []model.Finding
	snap     *model.Snapshot
	index    *scope.Index
	made     map[string]*outcome
}

// outcome is what one proxy gets.
type outcome struct {
	resources *translate.Resources
	findings  []model.Finding
}

// caseFile is one archive of cases.
type caseFile struct {
	path  string
	text  *txtar.Archive
	cases []*oneCase
}

// commonProxies are who asks, by the names that selections call them.
func commonProxies() map[string]proxySpec {
	return map[string]proxySpec{
		"client": {Workload: "shop/client"},
		"server": {Workload: "shop/server"},
		"gateway": {
			Workload: "istio-system/gateway", Gateway: true,
			Labels: map[string]string{"istio": "ingressgateway", "app": "istio-ingressgateway"},
		},
	}
}

// TestCases compares every case. At least fewestCases are there.
func TestCases(t *testing.T) {
	n := 0
	for _, f := range caseFiles(t) {
		for _, c := range f.cases {
			n++
			t.Run(f.name()+"/"+c.name, func(t *testing.T) { c.compare(t) })
		}
		if *update {
			f.write(t)
		}
	}
	if n < fewestCases {
		t.Errorf("there are %d cases, want at least %d", n, fewestCases)
	}
}

func (c *oneCase) compare(t *testing.T) {
	t.Helper()
	got := c.got(t)
	if *update {
		c.want = *got
		return
	}
	if diff := cmp.Diff(yamlText(t, &c.want), yamlText(t, got)); diff != "" && !sameValue(t, &c.want, got) {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// got answers every selection of want, and says what was found fault with.
func (c *oneCase) got(t *testing.T) *yamlv3.Node {
	t.Helper()
	out := &yamlv3.Node{Kind: yamlv3.MappingNode}
	findings := slices.Clone(c.snapshot().Findings)
	for i := 0; i+1 < len(c.want.Content); i += 2 {
		key := c.want.Content[i]
		if key.Value == findingsKey {
			continue
		}
		s, err := parseSelection(key.Value)
		if err != nil {
			t.Fatalf("%s: %v", key.Value, err)
		}
		r, more := c.translate(t, s.proxy)
		findings = append(findings, more...)
		v, err := s.of(r)
		if err != nil {
			t.Fatalf("%s: %v", key.Value, err)
		}
		out.Content = append(out.Content, key, yamlNode(v))
	}
	if list := said(findings); len(list) > 0 {
		out.Content = append(out.Content, &yamlv3.Node{Kind: yamlv3.ScalarNode, Value: findingsKey}, yamlNode(list))
	}
	return out
}

// findingsKey is where want says which faults are found.
const findingsKey = "findings"

// said are warnings and errors without the place in a file, each once.
func said(list []model.Finding) []any {
	var out []string
	for _, f := range list {
		if f.Severity < model.Warning {
			continue
		}
		code, severity := f.Code, f.Severity
		f.Origin, f.Remedy = model.Origin{}, ""
		out = append(out, code+" "+severity.String()+" "+f.String())
	}
	slices.Sort(out)
	var values []any
	for _, x := range slices.Compact(out) {
		values = append(values, x)
	}
	return values
}

// snapshot merges what is configured, as the control plane does.
func (c *oneCase) snapshot() *model.Snapshot {
	if c.snap == nil {
		c.objects, c.findings = decode(c.inputs)
		c.snap = merged(c.dual(), c.objects, c.findings)
		c.index = scope.NewIndex(c.snap)
		c.made = map[string]*outcome{}
	}
	return c.snap
}

// translate makes what a proxy gets, once.
func (c *oneCase) translate(t *testing.T, proxy string) (*translate.Resources, []model.Finding) {
	t.Helper()
	c.snapshot()
	if c.made[proxy] == nil {
		r, f := translate.Translate(scope.Build(c.index, c.proxy(t, proxy)))
		c.made[proxy] = &outcome{r, f}
	}
	return c.made[proxy].resources, c.made[proxy].findings
}

func decode(inputs []txtar.File) (objects []model.Object, findings []model.Finding) {
	for _, f := range inputs {
		o, found := file.Decode(f.Data, f.Name)
		objects, findings = append(objects, o...), append(findings, found...)
	}
	return objects, findings
}

// dual tells whether the workloads of a case have addresses of both families, as its
// proxies say.
func (c *oneCase) dual() bool {
	for _, p := range c.proxies {
		if p.IPv6 && p.IPv4 {
			return true
		}
	}
	return false
}

// merged is the snapshot of objects; processes run at addresses in the order of their names.
func merged(dual bool, objects []model.Object, findings []model.Finding) *model.Snapshot {
	where, families := &archive{}, []int{4}
	if dual {
		where.spec.IPv4, where.spec.IPv6, families = true, true, []int{4, 6}
	}
	running := model.Delta{Source: "process", Full: true}
	processes := map[string]*model.Process{}
	for _, o := range objects {
		if p, ok := o.(*model.Process); ok {
			processes[p.Key.String()] = p
		}
	}
	for _, name := range sortedKeys(processes) {
		running.Upserts = append(running.Upserts, where.replicas(processes[name], len(running.Upserts))...)
	}
	files := model.Delta{Source: "file", Full: true, Upserts: objects, Findings: findings}
	return snapshot.Make(snapshot.Options{
		Sources: []string{"file", "process"}, Attach: attach.Attach, Check: check.Check, Addresses: snapshot.Addresses{Families: families},
	}, nil, files, running)
}

// proxy is who a selection means by "client", or by "client@envoy", on that engine.
func (c *oneCase) proxy(t *testing.T, name string) scope.Proxy {
	t.Helper()
	name, engine, _ := strings.Cut(name, "@")
	spec, ok := c.proxies[name]
	if !ok {
		t.Fatalf("there is no proxy %q", name)
	}
	return spec.proxy(engine)
}

// caseFiles are all archives, read once: what their cases amount to is made once, too.
func caseFiles(t *testing.T) []*caseFile {
	t.Helper()
	files, err := readAll()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var readAll = sync.OnceValues(func() ([]*caseFile, error) {
	paths, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no cases: %w", err)
	}
	common, err := os.ReadFile(commonBase)
	if err != nil {
		return nil, err
	}
	var out []*caseFile
	for _, p := range paths {
		f, err := readCases(p, common)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		out = append(out, f)
	}
	return out, nil
})

func (f *caseFile) name() string { return strings.TrimSuffix(filepath.Base(f.path), ".txtar") }

func readCases(path string, common []byte) (*caseFile, error) {
	text, err := txtar.ParseFile(path)
	if err != nil {
		return nil, err
	}
	f := &caseFile{path: path, text: text}
	shared := []txtar.File{{Name: "base.yaml", Data: common}, {Name: "more.yaml"}, {Name: "mesh.yaml"}}
	proxies := commonProxies()
	for _, x := range text.Files {
		name, part, _ := strings.Cut(x.Name, "/")
		at := slices.IndexFunc(shared, func(s txtar.File) bool { return s.Name == x.Name })
		switch {
		case at >= 0:
			shared[at].Data = x.Data
		case x.Name == "proxies.yaml":
			clear(proxies)
			if err := yaml.UnmarshalStrict(x.Data, &proxies); err != nil {
				return nil, fmt.Errorf("%s: %w", x.Name, err)
			}
		case part == "":
			c := &oneCase{file: f, name: name, proxies: proxies}
			c.inputs = append(slices.Clone(shared), txtar.File{Name: "config.yaml", Data: x.Data})
			f.cases = append(f.cases, c)
		default:
			if err := f.part(name, part, x.Data); err != nil {
				return nil, fmt.Errorf("%s: %w", x.Name, err)
			}
		}
	}
	for _, c := range f.cases {
		if len(c.want.Content) == 0 {
			return nil, fmt.Errorf("%s: there is no %s/want, or it is empty", c.name, c.name)
		}
	}
	return f, nil
}

// part takes a part of the case that the file has named last.
func (f *caseFile) part(name, part string, data []byte) error {
	if len(f.cases) == 0 || f.cases[len(f.cases)-1].name != name {
		return errors.New("this is not behind the objects of its case")
	}
	c := f.cases[len(f.cases)-1]
	switch part {
	case "mesh":
		c.inputs[2].Data = data
	case "want":
		var doc yamlv3.Node
		if err := yamlv3.Unmarshal(data, &doc); err != nil {
			return err
		}
		if doc.Kind != yamlv3.DocumentNode || doc.Content[0].Kind != yamlv3.MappingNode {
			return errors.New("want a mapping of what is looked at")
		}
		c.want = *doc.Content[0]
	default:
		return errors.New("want NAME, NAME/mesh or NAME/want")
	}
	return nil
}

// write puts what came out into the archive.
func (f *caseFile) write(t *testing.T) {
	t.Helper()
	before, err := os.ReadFile(f.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.text.Files {
		x := &f.text.Files[i]
		name, part, _ := strings.Cut(x.Name, "/")
		for _, c := range f.cases {
			if c.name == name && part == "want" {
				x.Data = []byte(yamlText(t, &c.want))
			}
		}
	}
	if after := txtar.Format(f.text); !bytes.Equal(before, after) {
		if err := os.WriteFile(f.path, after, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s is rewritten", f.path)
	}
}
