package gwstatus_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/attach"
	"github.com/weftmesh/weft/control/gwstatus"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source/file"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

// golden is one archive: objects.yaml, next.yaml (versions that are refused beside those
// in force), bundle (the version of the definitions), push.yaml (by Kind/namespace/name), and status.yaml, which is expected.
type golden struct {
	snapshot *model.Snapshot
	findings []model.Finding
	text     map[model.Key]string
	push     map[string]*gwstatus.Push
}

// goldenSecrets are certificates that every archive may refer to.
var goldenSecrets = []*model.Secret{
	{Meta: model.Meta{Key: model.Key{Kind: model.KindSecret, Namespace: "default", Name: "cert"}}, Cert: []byte("certificate"), PrivateKey: []byte("key")},
	{Meta: model.Meta{Key: model.Key{Kind: model.KindSecret, Namespace: "other", Name: "cert"}}, Cert: []byte("certificate"), PrivateKey: []byte("key")},
	{Meta: model.Meta{Key: model.Key{Kind: model.KindConfigMap, Namespace: "default", Name: "authority"}}, CA: []byte("authority")},
}

func readGolden(t *testing.T, a *txtar.Archive) *golden {
	t.Helper()
	g := &golden{text: map[model.Key]string{}, push: map[string]*gwstatus.Push{}}
	var objects []model.Object
	for _, f := range a.Files {
		switch f.Name {
		case "objects.yaml":
			list, findings := file.Decode(f.Data, f.Name)
			objects, g.findings = append(objects, list...), findings
			g.read(t, f.Data)
		case "bundle":
			objects = append(objects, &model.CRD{
				Meta:   model.Meta{Key: model.Key{Kind: model.KindCRD, Name: "gatewayclasses." + model.GatewayAPIGroup}},
				Bundle: strings.TrimSpace(string(f.Data)),
			})
		case "push.yaml":
			if err := yaml.UnmarshalStrict(f.Data, &g.push); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, f := range a.Files {
		if f.Name != "next.yaml" {
			continue
		}
		_, more := file.Decode(f.Data, f.Name)
		for _, x := range more {
			g.findings = append(g.findings, x, model.Finding{Code: "WEFT0114", Object: x.Object, Message: "the last good version stays"})
		}
	}
	for _, sec := range goldenSecrets {
		objects = append(objects, sec)
	}
	g.snapshot = snapshot.Make(snapshot.Options{Attach: attach.Attach}, nil, model.Delta{Source: "file", Full: true, Upserts: objects})
	return g
}

func (g *golden) read(t *testing.T, data []byte) {
	t.Helper()
	for _, doc := range strings.Split("\n"+string(data), "\n---") {
		var head istioStatus
		if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
			t.Fatal(err)
		}
		namespace := head.Metadata.Namespace
		if namespace == "" && head.Kind != "GatewayClass" {
			namespace = "default"
		}
		g.text[keyOf(head.Kind, namespace, head.Metadata.Name)] = doc
	}
}

// statuses are those of all objects that have one, by Kind/namespace/name.
func (g *golden) statuses() map[string]*gwstatus.Status {
	out := map[string]*gwstatus.Status{}
	for key, text := range g.text {
		in := gwstatus.Input{Snapshot: g.snapshot, Object: key, Push: g.push[key.String()], Written: []byte(text)}
		for _, f := range slices.Concat(g.findings, g.snapshot.Findings) {
			if f.Object == key {
				in.Findings = append(in.Findings, f)
			}
		}
		if s := gwstatus.Of(in); s != nil {
			out[key.String()] = s
		}
	}
	return out
}

// TestGolden compares the status of every object of the archives.
func TestGolden(t *testing.T) {
	list, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(list) == 0 {
		t.Fatalf("no archives in testdata: %v", err)
	}
	reasons := map[string]bool{}
	for _, path := range list {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := readGolden(t, a).statuses()
			for key, s := range got {
				s.Each(func(_ string, c *gwstatus.Condition) { reasons[c.Type+" "+c.Reason] = true })
				known(t, key, s)
			}
			text, err := yaml.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "status.yaml" })
			if i < 0 {
				a.Files = append(a.Files, txtar.File{Name: "status.yaml"})
				i = len(a.Files) - 1
			}
			if *update {
				a.Files[i].Data = text
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(a.Files[i].Data), string(text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	every(t, reasons)
}

// known reads a status as the API's own type, strictly: no field of another name, and no
// condition without its reason and message.
func known(t *testing.T, key string, s *gwstatus.Status) {
	t.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	kind, _, _ := strings.Cut(key, "/")
	var into any = &gatewayv1.RouteStatus{}
	switch model.Kind(kind) {
	case model.KindAPIGateway:
		into = &gatewayv1.GatewayStatus{}
	case model.KindListenerSet:
		into = &gatewayv1.ListenerSetStatus{}
	case model.KindGatewayClass:
		into = &gatewayv1.GatewayClassStatus{}
	case model.KindBackendTLSPolicy:
		into = &gatewayv1.PolicyStatus{}
	}
	if err := yaml.UnmarshalStrict(raw, into); err != nil {
		t.Errorf("%s: %v", key, err)
	}
	s.Each(func(place string, c *gwstatus.Condition) {
		if !word.MatchString(c.Reason) || c.Message == "" || !slices.Contains([]string{"True", "False", "Unknown"}, c.Status) {
			t.Errorf("%s: %s: the condition %+v is not whole", key, place, *c)
		}
	})
}

var word = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// every checks that each condition is in the archives with each reason that Weft gives.
func every(t *testing.T, got map[string]bool) {
	t.Helper()
	for kind, list := range map[string]string{
		"Accepted": "Accepted Invalid Unsupported UnsupportedAddress ListenersNotValid NotAllowed UnsupportedProtocol NoValidCACertificate HostnameConflict ProtocolConflict " +
			"NotAllowedByListeners NoMatchingListenerHostname NoMatchingParent UnsupportedValue IncompatibleFilters TargetNotFound Conflicted",
		"Programmed":                     "Programmed Invalid NoResources Pending AddressNotUsable NotAllowed",
		"ResolvedRefs":                   "ResolvedRefs ListenersNotResolved InvalidCertificateRef InvalidRouteKinds RefNotPermitted InvalidCACertificateRef InvalidCACertificateKind InvalidKind BackendNotFound UnsupportedProtocol Pending",
		"Conflicted":                     "NoConflicts HostnameConflict ProtocolConflict",
		"SupportedVersion":               "SupportedVersion UnsupportedVersion",
		"PartiallyInvalid":               "UnsupportedValue",
		"OverlappingTLSConfig":           "OverlappingHostnames",
		"InsecureFrontendValidationMode": "ConfigurationChanged",
	} {
		for _, reason := range strings.Fields(list) {
			if !got[kind+" "+reason] {
				t.Errorf("no archive has %s with the reason %s", kind, reason)
			}
			delete(got, kind+" "+reason)
		}
	}
	for left := range got {
		t.Errorf("%s is in an archive and not in this list", left)
	}
}
