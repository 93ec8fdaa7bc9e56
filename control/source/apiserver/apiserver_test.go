package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is an API server that keeps what it is told, and a source of it.
type cluster struct {
	t      *testing.T
	client *fake.FakeDynamicClient
	disc   *fakediscovery.FakeDiscovery
	out    chan model.Delta
	// have is what the deltas have left.
	have     map[model.Key]model.Object
	findings []model.Finding
}

var served = map[schema.GroupVersionResource]string{
	pods.GroupVersionResource: "Pod", nodes.GroupVersionResource: "Node", definitions.GroupVersionResource: "CustomResourceDefinition",
	{Version: "v1", Resource: "services"}: "Service", {Version: "v1", Resource: "secrets"}: "Secret", {Version: "v1", Resource: "endpoints"}: "Endpoints",
	{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}:       "VirtualService",
	{Group: "networking.istio.io", Version: "v1alpha3", Resource: "virtualservices"}: "VirtualService",
}

// start starts a source of a server that has these documents; prepare may set reactions.
func start(t *testing.T, kinds []string, text string, prepare func(*fake.FakeDynamicClient)) *cluster {
	t.Helper()
	lists := map[schema.GroupVersionResource]string{}
	for r, k := range served {
		lists[r] = k + "List"
	}
	c := &cluster{t: t, out: make(chan model.Delta), have: map[model.Key]model.Object{}}
	c.client = fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists)
	c.disc = &fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{}}
	c.serve(kinds...)
	if prepare != nil {
		prepare(c.client)
	}
	c.apply(text)
	ctx, cancel := context.WithCancel(t.Context())
	s := newSource(c.client, c.disc, Options{Decoder: file.NewDecoder(), Cluster: "k"})
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, c.out) }()
	t.Cleanup(func() {
		cancel()
		for {
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				return
			case <-c.out:
			}
		}
	})
	return c
}

// serve sets which resources the server says it has.
func (c *cluster) serve(resources ...string) {
	by := map[string]*metav1.APIResourceList{}
	for gvr, kind := range served {
		if slices.Contains(resources, gvr.Resource) {
			gv := gvr.GroupVersion().String()
			if by[gv] == nil {
				by[gv] = &metav1.APIResourceList{GroupVersion: gv}
			}
			by[gv].APIResources = append(by[gv].APIResources, metav1.APIResource{Name: gvr.Resource, Kind: kind, Verbs: metav1.Verbs{"get", "list", "watch"}})
		}
	}
	c.disc.Lock()
	defer c.disc.Unlock()
	c.disc.Resources = nil
	for _, l := range by {
		c.disc.Resources = append(c.disc.Resources, l)
	}
}

// each calls f with the objects of some documents.
func (c *cluster) each(text string, f func(schema.GroupVersionResource, *unstructured.Unstructured)) {
	c.t.Helper()
	for _, doc := range strings.Split(text, "---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &u.Object); err != nil {
			c.t.Fatal(err)
		}
		gv, err := schema.ParseGroupVersion(u.GetAPIVersion())
		if err != nil {
			c.t.Fatal(err)
		}
		for gvr, kind := range served {
			if gvr.GroupVersion() == gv && kind == u.GetKind() {
				f(gvr, runtimeJSON(c.t, u))
			}
		}
	}
}

// runtimeJSON is an object with numbers as JSON has them.
func runtimeJSON(t *testing.T, u *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	raw, err := u.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *cluster) apply(text string) {
	c.t.Helper()
	c.each(text, func(gvr schema.GroupVersionResource, u *unstructured.Unstructured) {
		r := c.client.Resource(gvr).Namespace(u.GetNamespace())
		_, err := r.Create(c.t.Context(), u, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			_, err = r.Update(c.t.Context(), u, metav1.UpdateOptions{})
		}
		if err != nil {
			c.t.Fatal(err)
		}
	})
}

func (c *cluster) remove(text string) {
	c.t.Helper()
	c.each(text, func(gvr schema.GroupVersionResource, u *unstructured.Unstructured) {
		if err := c.client.Resource(gvr).Namespace(u.GetNamespace()).Delete(c.t.Context(), u.GetName(), metav1.DeleteOptions{}); err != nil {
			c.t.Fatal(err)
		}
	})
}

// until takes deltas until what they have left is as wanted.
func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case d := <-c.out:
			if d.Full {
				clear(c.have)
			}
			for _, o := range d.Upserts {
				c.have[o.Head().Key] = o
			}
			for _, k := range d.Deletes {
				delete(c.have, k)
			}
			c.findings = d.Findings
		case <-limit:
			c.t.Fatalf("%s: not within a minute; there are %s and %v", what, c.keys(), c.findings)
		}
	}
}

func (c *cluster) keys() string {
	var out []string
	for k := range c.have {
		out = append(out, k.String())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (c *cluster) found(code, says string) func() bool {
	return func() bool {
		return slices.ContainsFunc(c.findings, func(f model.Finding) bool { return f.Code == code && strings.Contains(f.Message, says) })
	}
}

const (
	reviews = `apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
`
	split = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop, annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}]}
`
	bad = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec: {hosts: [], http: []}
`
	pod = `apiVersion: v1
kind: Pod
metadata:
  name: reviews-v1-5d4f-x
  namespace: shop
  labels: {app: reviews, pod-template-hash: 5d4f}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: reviews-v1-5d4f, uid: u, controller: true}]
spec:
  nodeName: n1
  serviceAccountName: reviews
  initContainers: [{name: weft-proxy, image: weft-proxy}]
  containers: [{name: app, image: app, ports: [{name: web, containerPort: 9080}]}]
status: {phase: Running, podIPs: [{ip: 10.1.0.5}, {ip: "fd00::5"}], conditions: [{type: Ready, status: "True"}]}
`
	place = `apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}
`
	definition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: virtualservices.networking.istio.io}
`
)

var (
	serviceKey  = model.Key{Kind: model.KindService, Namespace: "shop", Name: "reviews"}
	routeKey    = model.Key{Kind: model.KindVirtualService, Namespace: "shop", Name: "reviews"}
	workloadKey = model.Key{Kind: model.KindWorkload, Namespace: "shop", Name: "reviews-v1-5d4f-x"}
)

// TestOwnSettings: what is written at a pod about its proxy holds for it, and what is wrong
// there does not keep the pod.
func TestOwnSettings(t *testing.T) {
	annotated := func(text string) string {
		return strings.Replace(pod, "  ownerReferences", "  annotations: {proxy.istio.io/config: '"+text+"'}\n  ownerReferences", 1)
	}
	c := start(t, []string{"Pod"}, annotated("concurrency: 3"), nil)
	c.until("the settings are there", func() bool {
		w, ok := c.have[workloadKey].(*model.Workload)
		return ok && w.Proxy != nil && *w.Proxy.Concurrency == 3
	})
	c.apply(annotated("concurrency: -3"))
	c.until("they are gone, with a finding", func() bool {
		w, ok := c.have[workloadKey].(*model.Workload)
		return ok && w.Proxy == nil && c.found("WEFT0107", "must not be negative")()
	})
}

// TestFollows: what the server has is there, changes, stays when its new version is bad,
// and goes.
func TestFollows(t *testing.T) {
	c := start(t, []string{"services", "virtualservices", "endpoints", "secrets"}, reviews+"---\n"+split+"---\n"+pod+"---\n"+place, nil)
	c.until("all kinds", func() bool { return len(c.have) == 3 })
	w, _ := c.have[workloadKey].(*model.Workload)
	if w == nil {
		t.Fatalf("there are %s", c.keys())
	}
	got := fmt.Sprint(w.App, w.Addresses, w.ServiceAccount, w.Cluster, w.Locality, w.Node, w.Ports, w.Ready, w.Mesh, w.Engine, w.Gateway)
	if want := "reviews-v1[10.1.0.5 fd00::5]reviewsk{r1 z1 }n1map[web:9080]true true gofalse"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("the pod is %s", got)
	}
	if a := c.have[routeKey].Head().Annotations; len(a) != 0 {
		t.Errorf("annotations: %v", a)
	}
	good := c.have[routeKey]
	c.apply(bad)
	c.until("a bad version", c.found("WEFT0114", "last good version"))
	if c.have[routeKey] != good {
		t.Error("the last good version does not stay")
	}
	c.apply(strings.Replace(split, "hosts: [reviews]", "hosts: [reviews, other]", 1))
	c.until("a good version again", func() bool { return c.have[routeKey] != good && len(c.findings) == 0 })

	c.apply(strings.Replace(place, "z1", "z2", 1))
	c.until("the node's new place", func() bool { return c.have[workloadKey].(*model.Workload).Locality.Zone == "z2" })
	c.apply(strings.Replace(pod, `status: "True"`, `status: "False"`, 1))
	c.until("a pod that is not ready", func() bool { return !c.have[workloadKey].(*model.Workload).Ready })
	if z := c.have[workloadKey].(*model.Workload).Locality.Zone; z != "z2" {
		t.Errorf("it is in %s now", z)
	}
	c.apply(strings.Replace(pod, "phase: Running", "phase: Succeeded", 1))
	c.until("a pod that has ended", func() bool { return c.have[workloadKey] == nil })
	c.remove(reviews)
	c.until("a service that is gone", func() bool { return c.have[serviceKey] == nil && c.have[routeKey] != nil })
}

// TestDefinitions: kinds come and go with their definitions.
func TestDefinitions(t *testing.T) {
	c := start(t, []string{"services"}, reviews+"---\n"+split, nil)
	c.until("the service", func() bool { return len(c.have) == 1 })
	c.serve("services", "virtualservices")
	c.apply(definition)
	c.until("the route", func() bool { return c.have[routeKey] != nil })
	c.serve("services")
	c.remove(definition)
	c.until("no route", func() bool { return c.have[routeKey] == nil && c.have[serviceKey] != nil })
	c.serve("services", "virtualservices")
	c.apply(definition)
	c.until("the route again", func() bool { return c.have[routeKey] != nil })
}

// TestDenied: what may not be read is named, and the rest is read.
func TestDenied(t *testing.T) {
	c := start(t, []string{"services", "secrets"}, reviews, func(f *fake.FakeDynamicClient) {
		f.PrependReactor("list", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("no"))
		})
	})
	c.until("the rest", func() bool { return c.have[serviceKey] != nil })
	if !c.found(CodeAPIServer, "secrets may not be read")() {
		t.Errorf("found: %v", c.findings)
	}
}

// TestUnreachable: a server that fails is waited for at the start.
func TestUnreachable(t *testing.T) {
	var up atomic.Bool
	c := start(t, []string{"services"}, reviews, func(f *fake.FakeDynamicClient) {
		f.PrependReactor("list", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
			if up.Load() {
				return false, nil, nil
			}
			up.Store(true) // the second time
			return true, nil, errors.New("connection refused")
		})
	})
	c.until("the service", func() bool { return c.have[serviceKey] != nil })
}
