package gwstatus_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/control/attach"
	"github.com/weftmesh/weft/control/gwstatus"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/test/istiodata"
)

// istioStatus is an object of Istio's expectations.
type istioStatus struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Status   gwstatus.Status
}

// TestIstioStatus reads the inputs of Istio's own conversion tests, makes the status of
// each object, and compares it by meaning with what Istio expects: conditions by type,
// status and reason, for each listener and parent, kinds and numbers of routes. What is
// different is listed, with the reason.
func TestIstioStatus(t *testing.T) {
	dir := filepath.Join(istiodata.Dir(t), "pilot/pkg/config/kube/gateway")
	services := istioServices(t, filepath.Join(dir, "conversion_test.go"))
	list, err := filepath.Glob(filepath.Join(dir, "testdata", "*.status.yaml.golden"))
	if err != nil || len(list) == 0 {
		t.Skipf("Istio's test has no expectations of status: %v", err)
	}
	compared, used := 0, map[string]bool{}
	for _, path := range list {
		name := strings.TrimSuffix(filepath.Base(path), ".status.yaml.golden")
		if skipped[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			in := readIstio(t, filepath.Join(dir, "testdata", name+".yaml"), services)
			for _, doc := range documents(t, path) {
				var want istioStatus
				if err := yaml.Unmarshal([]byte(doc), &want); err != nil {
					t.Fatal(err)
				}
				key := keyOf(want.Kind, want.Metadata.Namespace, want.Metadata.Name)
				if !gwstatus.Has(key.Kind) {
					continue
				}
				compared++
				differ := differences(lines(&want.Status), lines(in.status(key)))
				for _, d := range differ {
					id := name + " " + key.String() + " " + d
					why := reason(id)
					if why == "" {
						t.Errorf("%s", id)
					}
					used[why] = true
				}
			}
		})
	}
	for _, d := range istioDiffers {
		if !used[d.why] {
			t.Errorf("no difference for this reason any more: %s", d.why)
		}
	}
	t.Logf("the status of %d objects compared", compared)
}

func reason(id string) string {
	for _, d := range istioDiffers {
		if d.of.MatchString(id) {
			return d.why
		}
	}
	return ""
}

// lines is a status as one line per thing that is compared.
func lines(s *gwstatus.Status) []string {
	var out []string
	if s == nil {
		return nil
	}
	s.Each(func(place string, c *gwstatus.Condition) {
		out = append(out, fmt.Sprintf("%s: %s=%s %s", place, c.Type, c.Status, c.Reason))
	})
	for _, l := range s.Listeners {
		out = append(out, fmt.Sprintf("listener %s: %d routes", l.Name, l.AttachedRoutes))
		for _, k := range l.SupportedKinds {
			out = append(out, fmt.Sprintf("listener %s: takes %s", l.Name, k.Kind))
		}
	}
	if s.AttachedListenerSets != nil {
		out = append(out, fmt.Sprintf(": %d ListenerSets", *s.AttachedListenerSets))
	}
	return out
}

// differences are the lines of want that are not in got, with "-", and the reverse with "+".
func differences(want, got []string) (out []string) {
	for _, l := range want {
		if !slices.Contains(got, l) {
			out = append(out, "-"+l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			out = append(out, "+"+l)
		}
	}
	return out
}

// keyOf is the key of an object by the kind that it is written with.
func keyOf(kind, namespace, name string) model.Key {
	k := model.Key{Kind: model.Kind(kind), Namespace: namespace, Name: name}
	if kind == "Gateway" {
		k.Kind = model.KindAPIGateway
	}
	return k
}

// documents are those of a file; what is there of other implementations' status is left out.
func documents(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Skip(err)
	}
	var out []string
	for _, doc := range strings.Split("\n"+lower(string(raw)), "\n---") {
		var v map[string]any
		if err := yaml.Unmarshal([]byte(doc), &v); err != nil {
			t.Fatal(err)
		}
		status, _ := v["status"].(map[string]any)
		for _, part := range []string{"parents", "ancestors"} {
			list, _ := status[part].([]any)
			list = slices.DeleteFunc(list, func(p any) bool {
				m, _ := p.(map[string]any)
				return !strings.HasPrefix(fmt.Sprint(m["controllerName"]), "istio.io/")
			})
			if len(list) > 0 {
				status[part] = list
			} else {
				delete(status, part)
			}
		}
		// References are compared by what the API's defaults make of them.
		meta, _ := v["metadata"].(map[string]any)
		defaults(status, fmt.Sprint(meta["namespace"]))
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(raw))
	}
	return out
}

// lower makes names that Kubernetes would refuse, and so does Weft, ones that it takes.
func lower(text string) string {
	return strings.NewReplacer("invalid-backendRef-", "invalid-backendref-", "invalid-parentRef-", "invalid-parentref-").Replace(text)
}

func defaults(status map[string]any, namespace string) {
	for _, part := range []string{"parents", "ancestors"} {
		list, _ := status[part].([]any)
		for _, p := range list {
			for _, name := range []string{"parentRef", "ancestorRef"} {
				ref, ok := p.(map[string]any)[name].(map[string]any)
				if !ok {
					continue
				}
				for k, v := range map[string]string{"group": model.GatewayAPIGroup, "kind": "Gateway", "namespace": namespace} {
					if _, ok := ref[k]; !ok {
						ref[k] = v
					}
				}
			}
		}
	}
}

// read is one of Istio's inputs.
type read struct {
	snapshot *model.Snapshot
	findings []model.Finding
	text     map[model.Key]string
}

func (r *read) status(key model.Key) *gwstatus.Status {
	in := gwstatus.Input{Snapshot: r.snapshot, Object: key, Written: []byte(r.text[key])}
	for _, f := range r.findings {
		if f.Object == key {
			in.Findings = append(in.Findings, f)
		}
	}
	return gwstatus.Of(in)
}

func readIstio(t *testing.T, path string, services []*model.Service) *read {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Skip(err)
	}
	in := lower(strings.ReplaceAll(string(raw), "domain.suffix", "cluster.local"))
	objects, findings := file.Decode([]byte(in), filepath.Base(path))
	out := &read{snapshot: snapshotOf(objects, services), findings: findings, text: map[model.Key]string{}}
	for _, doc := range strings.Split("\n"+in, "\n---") {
		var head istioStatus
		if err := yaml.Unmarshal([]byte(doc), &head); err == nil {
			out.text[keyOf(head.Kind, head.Metadata.Namespace, head.Metadata.Name)] = doc
		}
	}
	return out
}

// snapshotOf has the objects with what came of them.
func snapshotOf(objects []model.Object, services []*model.Service) *model.Snapshot {
	s := &model.Snapshot{Mesh: model.DefaultMesh(), Services: slices.Clone(services)}
	all := map[model.Key]model.Object{}
	for _, o := range objects {
		all[o.Head().Key] = o
		switch o := o.(type) {
		case *model.Service:
			s.Services = append(s.Services, o)
		case *model.Namespace:
			s.Namespaces = append(s.Namespaces, o)
		case *model.Secret:
			s.Secrets = append(s.Secrets, o)
		case *model.GatewayClass:
			s.API.Classes = append(s.API.Classes, o)
		case *model.APIGateway:
			s.API.Gateways = append(s.API.Gateways, o)
		case *model.ListenerSet:
			s.API.ListenerSets = append(s.API.ListenerSets, o)
		case *model.APIRoute:
			s.API.Routes = append(s.API.Routes, o)
		case *model.ReferenceGrant:
			s.API.Grants = append(s.API.Grants, o)
		case *model.BackendTLSPolicy:
			s.API.BackendTLS = append(s.API.BackendTLS, o)
		}
	}
	// Istio's test labels the namespaces of all objects.
	spaces := map[string]bool{}
	for _, o := range objects {
		spaces[o.Head().Key.Namespace] = true
	}
	delete(spaces, "")
	for _, ns := range slices.Sorted(maps.Keys(spaces)) {
		part, _, _ := strings.Cut(ns, "-")
		s.Namespaces = append(s.Namespaces, &model.Namespace{Meta: model.Meta{
			Key: model.Key{Kind: model.KindNamespace, Name: ns}, Labels: map[string]string{"istio.io/test-name-part": part},
		}})
	}
	for _, sec := range istioSecrets() {
		all[sec.Key] = sec
	}
	s.Objects = cow.Of(all)
	model.SortObjects(s.API.Gateways)
	model.SortObjects(s.API.ListenerSets)
	model.SortObjects(s.API.Routes)
	model.SortObjects(s.API.BackendTLS)
	out := attach.Attach(s, nil)
	s.Verdicts, s.Findings = out.Verdicts, out.Findings
	return s
}

// istioSecrets are the certificates that Istio's test has before all files. Those that
// are malformed there are not here: they are refused when they are read.
func istioSecrets() (out []*model.Secret) {
	for _, at := range []struct{ kind, namespace, name string }{
		{"Secret", "istio-system", "my-cert-http"}, {"Secret", "ns2", "ns2-cert"}, {"Secret", "ns3", "ns3-cert"}, {"Secret", "ns4", "ns4-cert"},
		{"Secret", "istio-system", "my-cert"}, {"Secret", "istio-system", "my-cert-http2"}, {"Secret", "cert", "cert"},
		{"Secret", "bookinfo", "bookinfo-secret"}, {"Secret", "bookinfo", "another-secret"},
		{"ConfigMap", "istio-system", "my-cert-http"}, {"ConfigMap", "default", "auth-cert"},
	} {
		sec := &model.Secret{Meta: model.Meta{Key: model.Key{Kind: model.Kind(at.kind), Namespace: at.namespace, Name: at.name}}}
		if at.kind == "Secret" {
			sec.Cert, sec.PrivateKey = []byte("certificate"), []byte("key")
		}
		if at.kind == "ConfigMap" || at.name == "my-cert-http" {
			sec.CA = []byte("authority")
		}
		out = append(out, sec)
	}
	return out
}

var istioHost = regexp.MustCompile(`Hostname:\s+"([^"]+)"`)

// istioServices are the services that Istio's test has before all files.
func istioServices(t *testing.T, source string) []*model.Service {
	t.Helper()
	raw, err := os.ReadFile(source)
	if err != nil {
		t.Skip(err)
	}
	_, list, ok := strings.Cut(string(raw), "var services = ")
	if !ok {
		t.Skip("Istio's test has other services now")
	}
	list, _, _ = strings.Cut(list, "\n}\n")
	hosts := map[string]bool{}
	for _, m := range istioHost.FindAllStringSubmatch(list, -1) {
		hosts[strings.ReplaceAll(m[1], "domain.suffix", "cluster.local")] = true
	}
	var out []*model.Service
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		name, rest, _ := strings.Cut(host, ".")
		ns, _, _ := strings.Cut(rest, ".")
		svc := &model.Service{
			Meta: model.Meta{Key: model.Key{Kind: model.KindService, Namespace: ns, Name: name}}, Host: host, Name: name, Namespace: ns,
			Selector: map[string]string{"app": name}, Exports: model.Visibility{Public: true},
		}
		for _, p := range []uint16{80, 81, 82, 83, 84, 85, 86, 87, 88, 443, 8000, 8080, 9090, 1234, 34000, 34001} {
			svc.Ports = append(svc.Ports, model.ServicePort{Port: p, Protocol: model.HTTP})
		}
		out = append(out, svc)
	}
	return out
}
