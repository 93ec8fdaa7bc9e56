package kube

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// apply applies documents to the node's cluster.
func (n *node) apply(text string) {
	n.t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		u := parse(n.t, doc)
		if _, err := n.Apply(n.t.Context(), u, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
			n.t.Fatalf("%s: %v", doc, err)
		}
	}
}

// until waits for what the cluster does.
func (n *node) until(what string, ok func() error) {
	n.t.Helper()
	(&cluster{t: n.t}).until(what, ok)
}

// ready waits until a pod is ready.
func (n *node) ready(namespace, name string) {
	n.t.Helper()
	pods, err := n.Resource(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, namespace)
	if err != nil {
		n.t.Fatal(err)
	}
	n.until("pod "+name+" is ready", func() error {
		p, err := pods.Get(n.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		list, _, _ := unstructured.NestedSlice(p.Object, "status", "conditions")
		for _, c := range list {
			if m := c.(map[string]any); m["type"] == "Ready" && m["status"] == "True" {
				return nil
			}
		}
		return fmt.Errorf("%w: %v", errNotYet, p.Object["status"])
	})
}

// sidecar is a pod whose sidecar is written by hand: as little as it takes.
const sidecar = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reviews, namespace: shop}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: reviews, namespace: shop, labels: {app: reviews}}
spec:
  serviceAccountName: reviews
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: "localhost/app:v1", args: [serve, ":8080"]}
  - name: weft-proxy
    image: IMAGE
    args: [--istio, sidecar]
    env:
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: INSTANCE_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: SERVICE_ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: PROXY_CONFIG, value: "{discoveryAddress: weft-control.weft-system.svc:15012}"}
    readinessProbe: {httpGet: {path: /healthz/ready, port: 15021}, periodSeconds: 1}
    volumeMounts:
    - {name: token, mountPath: /var/run/secrets/tokens}
    - {name: root, mountPath: /var/run/secrets/istio}
  volumes:
  - {name: token, projected: {sources: [{serviceAccountToken: {path: istio-token, audience: istio-ca}}]}}
  - {name: root, configMap: {name: weft-ca-root-cert}}
`

// TestNode installs a mesh on a real node from images that were built without a builder: it
// works, again changes nothing, survives its pods, and goes.
func TestNode(t *testing.T) {
	n := startNode(t)
	images := os.Getenv("WEFT_IMAGES")
	if images == "" {
		t.Fatal("WEFT_IMAGES is not set: a folder with what make images writes")
	}
	for _, i := range []string{"weft", "weft-proxy"} {
		n.load(filepath.Join(images, i+".tar"))
	}
	weft := filepath.Join(images, "weft")
	started := time.Now()
	if out := n.inside(weft, "install", "--yes"); !strings.Contains(out, "Weft is installed.") {
		t.Fatal(out)
	}
	t.Logf("installed within %v", time.Since(started).Round(time.Second))
	if out := n.inside(weft, "install", "--yes"); !strings.Contains(out, "Weft is installed.") || strings.Contains(out, "created") || strings.Contains(out, "changed") {
		t.Errorf("again:\n%s", out)
	}
	t.Log(n.inside(weft, "check"))
	t.Run("refused", func(t *testing.T) {
		u := parse(t, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bad, namespace: default}\nspec: {hosts: ['not a host']}\n")
		_, err := n.Apply(t.Context(), u, metav1.ApplyOptions{FieldManager: "test"})
		if err == nil || !strings.Contains(err.Error(), "validate.weft.dev") || !strings.Contains(err.Error(), "WEFT0") {
			t.Errorf("an object that is wrong: %v", err)
		}
	})
	version := strings.TrimSpace(n.inside(weft, "version"))
	n.apply(strings.ReplaceAll(sidecar, "IMAGE", "localhost/weft-proxy:"+version))
	n.ready("shop", "reviews")
	t.Run("injected pods", n.inject)
	t.Run("a control plane that goes", func(t *testing.T) { n.restart(t) })
	t.Run("uninstall", func(t *testing.T) {
		out := n.inside(weft, "uninstall", "--yes")
		if !strings.Contains(out, "Secret weft-system/weft-ca") && !strings.Contains(out, "weft-system/weft-ca") {
			t.Errorf("it does not say that the identities stay:\n%s", out)
		}
		n.ready("shop", "reviews") // its proxy goes on
		if out := n.inside(weft, "uninstall", "--yes", "--purge"); !strings.Contains(out, "Namespace weft-system removed") {
			t.Errorf("a purge:\n%s", out)
		}
	})
}

// restart ends all control planes at once: others take their place, with the same root.
func (n *node) restart(t *testing.T) {
	root := n.inside("kubectl", "-n", "shop", "get", "configmap", "weft-ca-root-cert", "-o", "jsonpath={.data}")
	n.inside("kubectl", "-n", "weft-system", "delete", "pods", "--all", "--wait=true")
	n.inside("kubectl", "-n", "weft-system", "rollout", "status", "deploy/weft-control", "--timeout=120s")
	if after := n.inside("kubectl", "-n", "shop", "get", "configmap", "weft-ca-root-cert", "-o", "jsonpath={.data}"); after != root {
		t.Error("the root is another one")
	}
	n.ready("shop", "reviews")
	// The proxy is connected to one of the new ones: what is new reaches it.
	n.apply("apiVersion: v1\nkind: Service\nmetadata: {name: later, namespace: shop}\nspec: {ports: [{name: http, port: 8080}]}\n")
	n.until("the proxy knows a new service", func() error {
		out, err := n.try(nil, "in.sh", "sh", "-c", "exec nsenter -t $(pgrep -f 'weft-proxy --istio' | head -1) -n curl -s http://127.0.0.1:15000/clusters?format=json")
		if err != nil {
			return err
		}
		var any map[string]any
		if json.Unmarshal([]byte(out), &any) != nil || !strings.Contains(out, "later.shop.svc.cluster.local") {
			return errNotYet
		}
		return nil
	})
}
