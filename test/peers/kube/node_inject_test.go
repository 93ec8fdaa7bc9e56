package kube

import (
	"fmt"
	"strings"
	"testing"
)

// injectedPods are pods that the webhook gives a proxy: a server that takes mutual TLS only and lets
// one path be asked, a caller, and a Job that ends; plain is one that it does not.
const injectedPods = `apiVersion: v1
kind: Namespace
metadata: {name: mesh, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: caller, namespace: mesh}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: mesh}
spec: {selector: {app: server}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: mesh, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - {name: app, image: "localhost/app:v1", args: [serve, ":8080"], readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: mesh, labels: {app: caller}}
spec:
  serviceAccountName: caller
  terminationGracePeriodSeconds: 5
  containers:
  - {name: app, image: "localhost/app:v1", args: [sleep]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: mesh, labels: {app: plain, sidecar.istio.io/inject: "false"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: "localhost/app:v1", args: [sleep]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: mesh}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: server, namespace: mesh}
spec:
  selector: {matchLabels: {app: server}}
  rules: [{from: [{source: {principals: ["cluster.local/ns/mesh/sa/caller"]}}], to: [{operation: {paths: [/open]}}]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: mesh}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      serviceAccountName: caller
      containers:
      - {name: app, image: "localhost/app:v1", args: [get, "http://server/open"]}
`

// inject: what is applied to a namespace that wants it gets proxies, which do what the mesh's
// policies say; a Job with one ends.
func (n *node) inject(t *testing.T) {
	n.apply(injectedPods)
	for _, pod := range []string{"server", "caller", "plain"} {
		n.ready("mesh", pod)
	}
	ask := func(pod, url string) string {
		out, _ := n.try(nil, "in.sh", "kubectl", "-n", "mesh", "exec", pod, "-c", "app", "--", "/app", "get", url) // what it says counts
		return out
	}
	n.until("the caller is answered", func() error {
		if out := ask("caller", "http://server/open"); !strings.HasPrefix(out, "200 server for server") || !strings.Contains(out, "By=spiffe://cluster.local/ns/mesh/sa/default") || !strings.Contains(out, "URI=spiffe://cluster.local/ns/mesh/sa/caller") {
			return fmt.Errorf("%w: %s", errNotYet, out)
		}
		return nil
	})
	if out := ask("caller", "http://server/closed"); !strings.HasPrefix(out, "403 RBAC: access denied") {
		t.Errorf("a path that is not allowed: %s", out)
	}
	if out := ask("plain", "http://server/open"); strings.HasPrefix(out, "200") || strings.HasPrefix(out, "403") {
		t.Errorf("who has no proxy is answered: %s", out)
	}
	n.until("the Job is complete", func() error {
		out := n.inside("kubectl", "-n", "mesh", "get", "job", "once", "-o", "jsonpath={.status.succeeded}")
		if out != "1" {
			return fmt.Errorf("%w: %s", errNotYet, n.inside("kubectl", "-n", "mesh", "get", "pods", "-l", "job-name=once", "-o", "wide"))
		}
		return nil
	})
}
