package kube

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/apiserver"
	"github.com/weftmesh/weft/control/source/file"
)

var namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// reader follows the source as the control plane does.
type reader struct {
	c    *cluster
	mu   sync.Mutex
	have map[model.Key]model.Object
	said []model.Finding
	full bool
}

// read follows a cluster as a user of it.
func (c *cluster) read(token string) *reader {
	c.t.Helper()
	s, err := apiserver.New("kubernetes://?kubeconfig="+c.kubeconfig(token), apiserver.Options{Decoder: file.NewDecoder(), Log: slog.New(slog.NewTextHandler(c.log, nil))})
	if err != nil {
		c.t.Fatal(err)
	}
	r := &reader{c: c, have: map[model.Key]model.Object{}}
	ctx, cancel := context.WithCancel(c.t.Context())
	out := make(chan model.Delta)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Run(ctx, out) // it ends with ctx
	}()
	go func() {
		for {
			select {
			case d := <-out:
				r.take(&d)
			case <-ended:
				return
			}
		}
	}()
	c.t.Cleanup(func() { cancel(); <-ended })
	return r
}

func (r *reader) take(d *model.Delta) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.Full {
		clear(r.have)
		r.full = true
	}
	for _, o := range d.Upserts {
		r.have[o.Head().Key] = o
	}
	for _, k := range d.Deletes {
		delete(r.have, k)
	}
	r.said = d.Findings
}

func (r *reader) get(kind model.Kind, namespace, name string) model.Object {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.have[model.Key{Kind: kind, Namespace: namespace, Name: name}]
}

func (r *reader) says(part string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.said, func(f model.Finding) bool { return strings.Contains(f.String(), part) })
}

// until waits until a condition holds.
func (r *reader) until(what string, ok func() bool) {
	r.c.t.Helper()
	r.c.until(what, func() error {
		if ok() {
			return nil
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Errorf("%w: %d objects, %v", errNotYet, len(r.have), r.said)
	})
}

// definitions are those of Istio's kinds, of the module.
func definitions(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(module(t, "istio.io/api"), "kubernetes/customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// module is the folder of a module that go.mod names.
func module(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

const objects = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-0, namespace: shop, labels: {app: reviews}}
spec: {nodeName: n1, serviceAccountName: reviews, containers: [{name: app, image: app, ports: [{name: web, containerPort: 9080}]}]}
status: {phase: Running, podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: shop}
type: Opaque
data: {password: ""}
`

const route = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec: {hosts: [reviews], http: [{timeout: TIMEOUT, route: [{destination: {host: reviews}}]}]}
`

// TestSource: a real server's objects come, change and go; kinds are found when they are
// defined; the source outlives the server, and misses nothing that happened meanwhile.
func TestSource(t *testing.T) {
	c := startCluster(t)
	c.apply(objects)
	r := c.read(admin)
	workload := func() *model.Workload {
		w, _ := r.get(model.KindWorkload, "shop", "reviews-0").(*model.Workload)
		return w
	}
	r.until("the pod is a workload at its node's place", func() bool {
		w := workload()
		return w != nil && w.Ready && w.Locality == (model.Locality{Region: "r1", Zone: "z1"}) && r.get(model.KindService, "shop", "reviews") != nil
	})
	timeout := func() time.Duration {
		v, _ := r.get(model.KindVirtualService, "shop", "reviews").(*model.RouteSet)
		if v == nil {
			return 0
		}
		return v.HTTP[0].Timeout
	}
	c.apply(definitions(t))
	c.until("the kind is served", func() error {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}}
		c.discovery.Invalidate()
		_, err := c.resource(u)
		return err
	})
	c.apply(strings.Replace(route, "TIMEOUT", "1s", 1))
	r.until("a route of a kind that came later", func() bool { return timeout() == time.Second })

	c.down()
	r.until("it says that the server is away", func() bool { return r.says("its last state stands") || r.says("their last state stands") })
	if workload() == nil || timeout() != time.Second {
		t.Error("what was known is gone with the server")
	}
	c.up()
	c.apply(strings.Replace(route, "TIMEOUT", "2s", 1))
	c.remove("v1", "Pod", "shop", "reviews-0")
	r.until("what has changed since", func() bool { return timeout() == 2*time.Second && workload() == nil && !r.says("state stands") })

	c.remove("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "virtualservices.networking.istio.io")
	r.until("the kind is gone, and with it the route", func() bool { return timeout() == 0 })
}

// TestPermissions: what may not be read is named, the rest is read; a permission that is
// granted later holds.
func TestPermissions(t *testing.T) {
	c := startCluster(t)
	c.apply(objects)
	c.apply(role(`[{apiGroups: ["", discovery.k8s.io, networking.k8s.io, apiextensions.k8s.io], resources: [services, pods, nodes, namespaces, serviceaccounts, configmaps, endpointslices, ingresses, ingressclasses, customresourcedefinitions], verbs: [get, list, watch]}]`))
	r := c.read(limited)
	r.until("all but the secrets", func() bool {
		return r.get(model.KindService, "shop", "reviews") != nil && r.says("secrets may not be read") && r.says("let the control plane's service account get, list and watch secrets")
	})
	if r.get(model.KindSecret, "shop", "cert") != nil {
		t.Error("a secret that may not be read is there")
	}
	c.apply(role(`[{apiGroups: ["*"], resources: ["*"], verbs: [get, list, watch]}]`))
	r.until("the secrets too", func() bool { return !r.says("may not be read") })
}

func role(rules string) string {
	return `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: ` + rules + `
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: User, name: limited, apiGroup: rbac.authorization.k8s.io}]
`
}

// TestMany: 5,000 objects are there within seconds of the start.
func TestMany(t *testing.T) {
	c := startCluster(t)
	c.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n")
	const n = 5000
	var wg sync.WaitGroup
	services := c.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"}).Namespace("shop")
	work := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range work {
				u := &unstructured.Unstructured{Object: map[string]any{
					"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": fmt.Sprintf("s%d", i), "namespace": "shop"},
					"spec": map[string]any{"clusterIP": "None", "selector": map[string]any{"app": "x"}, "ports": []any{map[string]any{"name": "http", "port": int64(80)}}},
				}}
				if _, err := services.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	begin := time.Now()
	r := c.read(admin)
	r.until("all are there", func() bool { return r.get(model.KindService, "shop", "s4999") != nil })
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.have) < n {
		t.Errorf("%d objects in the first delta", len(r.have))
	}
	t.Logf("%d objects in %v", len(r.have), time.Since(begin))
}
