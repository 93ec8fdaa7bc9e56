package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	capb "istio.io/api/security/v1alpha1"
	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/weftmesh/weft/control"
	incluster "github.com/weftmesh/weft/control/cluster"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/kube/install"
	kubeobjects "github.com/weftmesh/weft/kube/objects"
	"github.com/weftmesh/weft/test/freeport"
)

// installed is a cluster with what weft install puts there; nothing runs in it.
type installed struct {
	*cluster
	client *kubeobjects.Client
	with   *install.Installer
	list   []*unstructured.Unstructured
	// said is what control planes log.
	said *output
}

func installMesh(t *testing.T, replicas int64) *installed {
	t.Helper()
	c := startCluster(t)
	client, err := kubeobjects.New(c.config(admin))
	if err != nil {
		t.Fatal(err)
	}
	i := &installed{cluster: c, client: client, with: &install.Installer{Client: client}, said: &output{}}
	if i.list, err = install.Definitions(file.NewDecoder()); err != nil {
		t.Fatal(err)
	}
	more, err := install.Objects(install.Options{Values: install.Values{"replicas": replicas}})
	if err != nil {
		t.Fatal(err)
	}
	i.list = append(i.list, more...)
	plan := i.plan(i.list)
	if err := i.with.Apply(t.Context(), plan, io.Discard); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *installed) plan(list []*unstructured.Unstructured) []install.Change {
	i.t.Helper()
	plan, err := i.with.Plan(i.t.Context(), list)
	if err != nil {
		i.t.Fatal(err)
	}
	return plan
}

// account makes a token of a service account.
func (i *installed) account(namespace, name, audience string) string {
	i.t.Helper()
	c, err := v1.NewForConfig(i.config(admin))
	if err != nil {
		i.t.Fatal(err)
	}
	var audiences []string
	if audience != "" {
		audiences = []string{audience}
	}
	r, err := c.ServiceAccounts(namespace).CreateToken(i.t.Context(), name, &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		i.t.Fatal(err)
	}
	return r.Status.Token
}

// control runs a control plane with the permissions that are installed, and returns the address
// of its xDS.
func (i *installed) control() string {
	i.t.Helper()
	kubeconfig := i.kubeconfig(i.account(install.DefaultNamespace, install.Name, ""))
	dir := i.t.TempDir()
	address := fmt.Sprintf("127.0.0.1:%d", freeport.Port(i.t))
	ctx, cancel := context.WithCancel(i.t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- control.Run(ctx, control.Options{
			Config: []string{"kubernetes://?kubeconfig=" + kubeconfig}, InCluster: install.DefaultNamespace,
			Secure:   control.Secure{Address: address},
			StateDir: dir, ConsoleSocket: filepath.Join(dir, "c.sock"), Log: slog.New(slog.NewTextHandler(i.said, nil)),
		})
	}()
	i.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			i.t.Error(err)
		}
	})
	return address
}

// has waits until an object has a value at a path.
func (i *installed) has(apiVersion, kind, name string, ok func(map[string]any) bool) map[string]any {
	i.t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	ns, n, found := strings.Cut(name, "/")
	if !found {
		ns, n = "", name
	}
	u.SetNamespace(ns)
	u.SetName(n)
	var out map[string]any
	i.until(kind+" "+name+" is as it should be", func() error {
		have, err := i.client.Get(i.t.Context(), u)
		if err != nil {
			return err
		}
		if out = have.Object; !ok(out) {
			return fmt.Errorf("%w: %v", errNotYet, out)
		}
		return nil
	})
	return out
}

func text(o map[string]any, path ...string) string {
	s, _, _ := unstructured.NestedString(o, path...)
	return s
}

// TestInstall: what is installed is installed once; a change is shown, and others' fields are theirs.
func TestInstall(t *testing.T) {
	i := installMesh(t, 2)
	for _, c := range i.plan(i.list) {
		if c.Action != install.Keep {
			t.Errorf("%s again: %s %v", install.Title(c.Object), c.Action, c.Fields)
		}
	}
	more, err := install.Objects(install.Options{Values: install.Values{"replicas": int64(3)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range i.plan(more) {
		if c.Object.GetKind() == "Deployment" {
			if len(c.Fields) != 1 || c.Fields[0] != "spec.replicas: 2 → 3" {
				t.Errorf("another number of replicas: %s %v", c.Action, c.Fields)
			}
		} else if c.Action != install.Keep {
			t.Errorf("%s: %s %v", install.Title(c.Object), c.Action, c.Fields)
		}
	}
	// Somebody scales it by hand: that is not undone in silence.
	i.apply("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: weft-control, namespace: weft-system}\nspec: {replicas: 7}\n")
	if _, err := i.with.Plan(t.Context(), more); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a field of others: %v", err)
	}
	i.with.Force = true
	if err := i.with.Apply(t.Context(), i.plan(more), io.Discard); err != nil {
		t.Fatal(err)
	}
	i.has("apps/v1", "Deployment", "weft-system/weft-control", func(o map[string]any) bool {
		n, _, _ := unstructured.NestedInt64(o, "spec", "replicas")
		return n == 3
	})
}

// TestInstallBesideOthers: definitions that others have installed stay as they are.
func TestInstallBesideOthers(t *testing.T) {
	c := startCluster(t)
	c.apply(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: virtualservices.networking.istio.io}
spec:
  group: networking.istio.io
  scope: Namespaced
  names: {kind: VirtualService, listKind: VirtualServiceList, plural: virtualservices, singular: virtualservice}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`)
	client, err := kubeobjects.New(c.config(admin))
	if err != nil {
		t.Fatal(err)
	}
	list, err := install.Definitions(file.NewDecoder())
	if err != nil {
		t.Fatal(err)
	}
	i := &install.Installer{Client: client}
	plan, err := i.Plan(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range plan {
		want := install.Create
		if p.Object.GetName() == "virtualservices.networking.istio.io" {
			want = install.Leave
		}
		if p.Action != want {
			t.Errorf("%s: %s, want %s", install.Title(p.Object), p.Action, want)
		}
	}
}

// TestInCluster: with the permissions that are installed, and no others, a control plane makes
// its root once, publishes it, trusts the cluster's tokens, and writes statuses.
func TestInCluster(t *testing.T) {
	i := installMesh(t, 2)
	i.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: reviews, namespace: shop}\n")
	address := i.control()
	second := i.control()
	root := text(i.has("v1", "ConfigMap", "shop/"+incluster.RootConfigMap, func(o map[string]any) bool { return text(o, "data", "root-cert.pem") != "" }), "data", "root-cert.pem")
	for _, hook := range []string{"MutatingWebhookConfiguration weft-inject", "ValidatingWebhookConfiguration weft-validate"} {
		kind, name, _ := strings.Cut(hook, " ")
		i.has("admissionregistration.k8s.io/v1", kind, name, func(o map[string]any) bool {
			list, _, _ := unstructured.NestedSlice(o, "webhooks")
			for _, w := range list {
				if text(w.(map[string]any), "clientConfig", "caBundle") == "" {
					return false
				}
			}
			return len(list) > 0
		})
	}
	t.Run("put right", func(t *testing.T) {
		i.remove("v1", "ConfigMap", "shop", incluster.RootConfigMap)
		i.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: later}\n")
		for _, ns := range []string{"shop", "later"} {
			i.has("v1", "ConfigMap", ns+"/"+incluster.RootConfigMap, func(o map[string]any) bool { return text(o, "data", "root-cert.pem") == root })
		}
		// What the control plane has written is not undone by installing again.
		for _, c := range i.plan(i.list) {
			if c.Action != install.Keep {
				t.Errorf("%s: %s %v", install.Title(c.Object), c.Action, c.Fields)
			}
		}
	})
	t.Run("identity", func(t *testing.T) {
		for _, at := range []string{address, second} {
			if got := certified(t, at, root, i.account("shop", "reviews", "istio-ca")); got != "spiffe://cluster.local/ns/shop/sa/reviews" {
				t.Errorf("the certificate is for %q", got)
			}
			if got := certified(t, at, root, i.account("shop", "reviews", "others")); !strings.Contains(got, "Unauthenticated") {
				t.Errorf("a token for others: %s", got)
			}
		}
	})
	t.Run("status", func(t *testing.T) { i.statuses(t) })
	for _, what := range []string{"cannot be read", "cannot be written", "orbidden"} {
		if i.said.has(what) {
			t.Errorf("%s: permissions are missing:\n%s", what, i.said)
		}
	}
	if !i.said.has("all kinds are read") {
		t.Errorf("it does not say that it has read all:\n%s", i.said)
	}
}

func (i *installed) statuses(t *testing.T) {
	i.apply(`apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: good, namespace: shop}
spec: {hosts: [a.example], http: [{route: [{destination: {host: nowhere.example}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: ours}
spec: {controllerName: weft.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: reviews, port: 9080}]}]}
`)
	condition := func(list any, kind string) string {
		all, _ := list.([]any)
		for _, c := range all {
			if m := c.(map[string]any); m["type"] == kind {
				return fmt.Sprint(m["status"])
			}
		}
		return ""
	}
	vs := i.has("networking.istio.io/v1", "VirtualService", "shop/good", func(o map[string]any) bool {
		s, _, _ := unstructured.NestedMap(o, "status")
		return condition(s["conditions"], "Accepted") == "True" && condition(s["conditions"], "ResolvedRefs") == "False"
	})
	if s := fmt.Sprint(vs["status"]); !strings.Contains(s, "nowhere.example") {
		t.Errorf("it does not say what is missing: %s", s)
	}
	i.has("gateway.networking.k8s.io/v1", "GatewayClass", "ours", func(o map[string]any) bool {
		s, _, _ := unstructured.NestedMap(o, "status")
		return condition(s["conditions"], "Accepted") == "True"
	})
	route := i.has("gateway.networking.k8s.io/v1", "HTTPRoute", "shop/r", func(o map[string]any) bool {
		list, _, _ := unstructured.NestedSlice(o, "status", "parents")
		return len(list) == 1 && condition(list[0].(map[string]any)["conditions"], "Accepted") != "" && condition(list[0].(map[string]any)["conditions"], "ResolvedRefs") == "False"
	})
	// Another controller has an entry, too, which stays.
	parents, _, _ := unstructured.NestedSlice(route, "status", "parents")
	other := map[string]any{"controllerName": "example.com/other", "parentRef": map[string]any{"name": "theirs"}, "conditions": []any{}}
	route["status"] = map[string]any{"parents": append(parents, other)}
	u := &unstructured.Unstructured{Object: route}
	r, err := i.client.Of(u)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.UpdateStatus(t.Context(), u, metav1.UpdateOptions{FieldManager: "other"}); err != nil {
		t.Fatal(err)
	}
	i.apply("apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\nspec: {ports: [{name: http, port: 9080}]}\n")
	i.has("gateway.networking.k8s.io/v1", "HTTPRoute", "shop/r", func(o map[string]any) bool {
		list, _, _ := unstructured.NestedSlice(o, "status", "parents")
		resolved, kept := false, false
		for _, p := range list {
			m := p.(map[string]any)
			kept = kept || m["controllerName"] == "example.com/other"
			resolved = resolved || condition(m["conditions"], "ResolvedRefs") == "True"
		}
		return resolved && kept && len(list) == 2
	})
}

// certified asks a control plane for a certificate and returns its name, or the error.
func certified(t *testing.T, address, root, token string) string {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(root))
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool})))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+token)
	resp, err := capb.NewIstioCertificateServiceClient(cc).CreateCertificate(ctx, &capb.IstioCertificateRequest{Csr: string(csr)}, grpc.WaitForReady(true))
	if err != nil {
		return err.Error()
	}
	block, _ := pem.Decode([]byte(resp.GetCertChain()[0]))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf.URIs[0].String()
}

// TestUninstall: what was installed and made is gone, the identities and the objects of users stay
// until a purge.
func TestUninstall(t *testing.T) {
	i := installMesh(t, 1)
	i.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	stop := t.Run("with a control plane", func(t *testing.T) {
		inner := *i.cluster
		inner.t = t
		(&installed{cluster: &inner, client: i.client, with: i.with, list: i.list, said: i.said}).control()
		i.has("v1", "ConfigMap", "shop/"+incluster.RootConfigMap, func(map[string]any) bool { return true })
	})
	if !stop {
		return
	}
	definitions, err := install.Definitions(file.NewDecoder())
	if err != nil {
		t.Fatal(err)
	}
	r, err := i.with.Removal(t.Context(), install.Options{}, definitions, false)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(definitions) + 2; len(r.Keep) != want {
		t.Errorf("%d objects are kept, want %d: the definitions, the namespace, the Secret", len(r.Keep), want)
	}
	if err := i.with.Remove(t.Context(), r.Remove, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, u := range append(incluster.Made(install.DefaultNamespace), i.list...) {
		_, err := i.client.Get(t.Context(), u)
		stays := u.GetKind() == "CustomResourceDefinition" || u.GetKind() == "Namespace" || u.GetKind() == "Secret"
		if stays && err != nil || !stays && !apierrors.IsNotFound(err) {
			t.Errorf("%s: stays %v, %v", install.Title(u), stays, err)
		}
	}
}
