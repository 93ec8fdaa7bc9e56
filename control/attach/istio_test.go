package attach_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/control/attach"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/test/istiodata"
)

// istioData is the Gateway API test data of the Istio module.
func istioData(t *testing.T) string {
	t.Helper()
	return filepath.Join(istiodata.Dir(t), "pilot/pkg/config/kube/gateway")
}

// istioCases are the files that are about what Weft does.
var istioCases = []string{
	"grpc", "http", "isolation", "listenerset", "listenerset-cross-namespace", "mesh", "mismatch", "multi-gateway",
	"redirect-only", "reference-policy-service", "reference-policy-tcp", "reference-policy-tls", "reference-grant-multiple-to",
	"route-binding", "route-precedence", "tcp", "tls", "tls-terminate", "weighted", "zero", "valid-invalid-parent-ref", "empty-backend-refs",
}

// istioDiffers are routes on which Weft says something else than Istio, and why.
var istioDiffers = map[string]string{
	"http HTTPRoute/default/multi-route-infpool-1":                   "inference pools are no backends of Weft's",
	"http HTTPRoute/default/multi-route-infpool-2":                   "inference pools are no backends of Weft's",
	"http HTTPRoute/default/multiple-inferencepool-backend-refs":     "inference pools are no backends of Weft's",
	"tls HTTPRoute/default/http":                                     "the Gateway has listeners with the option tls-terminate-mode, which is refused",
	"tls TLSRoute/default/tls":                                       "as above",
	"tls-terminate TLSRoute/default/tls-hostname-intersection-route": "the file has the Service, which Istio's test does not read",
	"tls-terminate TLSRoute/default/tls-terminate-route":             "as above",
	"tls TLSRoute/default/tls-match":                                 "as above",
}

type istioStatus struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Status   struct {
		Parents []struct {
			Conditions []struct{ Type, Status string }
		}
	}
}

// TestIstioStatus reads the inputs of Istio's own conversion tests and compares
// which routes are wholly accepted, with all references resolved, with the status
// that Istio expects of them.
func TestIstioStatus(t *testing.T) {
	dir := istioData(t)
	services := istioServices(t, filepath.Join(dir, "conversion_test.go"))
	compared := 0
	for _, name := range istioCases {
		t.Run(name, func(t *testing.T) {
			in, err := os.ReadFile(filepath.Join(dir, "testdata", name+".yaml"))
			if err != nil {
				t.Skip(err)
			}
			raw, err := os.ReadFile(filepath.Join(dir, "testdata", name+".status.yaml.golden"))
			if err != nil {
				t.Skip(err)
			}
			objects, _ := file.Decode([]byte(strings.ReplaceAll(string(in), "domain.suffix", "cluster.local")), name+".yaml")
			bad := faults(objects, services)
			for _, doc := range strings.Split(string(raw), "\n---\n") {
				var want istioStatus
				if err := yaml.Unmarshal([]byte(doc), &want); err != nil {
					t.Fatal(err)
				}
				if !strings.HasSuffix(want.Kind, "Route") || len(want.Status.Parents) == 0 {
					continue
				}
				ok := true
				for _, p := range want.Status.Parents {
					for _, c := range p.Conditions {
						if (c.Type == "Accepted" || c.Type == "ResolvedRefs") && c.Status != "True" {
							ok = false
						}
					}
				}
				key := model.Key{Kind: model.Kind(want.Kind), Namespace: want.Metadata.Namespace, Name: want.Metadata.Name}
				if want.Kind == "UDPRoute" {
					continue
				}
				compared++
				got := len(bad[key]) == 0
				if why := istioDiffers[name+" "+key.String()]; (got != ok) != (why != "") {
					t.Errorf("%s: without fault %v, want %v: %s", key, got, ok, strings.Join(bad[key], "\n"))
				}
			}
		})
	}
	t.Logf("%d routes compared", compared)
}

// faults are the errors that Attach finds, by object.
func faults(objects []model.Object, services []*model.Service) map[model.Key][]string {
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
		}
	}
	// The names of namespaces that Istio's test admits by a label.
	for _, ns := range []string{"allowed-1", "allowed-2", "group-namespace1", "group-namespace2"} {
		part, _, _ := strings.Cut(ns, "-")
		s.Namespaces = append(s.Namespaces, &model.Namespace{Meta: model.Meta{
			Key: model.Key{Kind: model.KindNamespace, Name: ns}, Labels: map[string]string{"istio.io/test-name-part": part},
		}})
	}
	s.Objects = cow.Of(all)
	out := map[model.Key][]string{}
	for _, f := range attach.Attach(s, nil).Findings {
		if f.Severity == model.Error {
			out[f.Object] = append(out[f.Object], f.String())
		}
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
	var out []*model.Service
	for _, m := range istioHost.FindAllStringSubmatch(list, -1) {
		host := strings.ReplaceAll(m[1], "domain.suffix", "cluster.local")
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
