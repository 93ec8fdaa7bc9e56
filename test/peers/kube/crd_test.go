package kube

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/kube/crd"
)

const samples = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: c, ttl: 0s}}}, outlierDetection: {baseEjectionTime: 30s, consecutive5xxErrors: 5}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/admin*]}}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: shop}
spec: {parentRefs: [{name: gw}], rules: [{matches: [{path: {type: PathPrefix, value: /}}], backendRefs: [{name: reviews, port: 9080}]}]}
---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: m, namespace: shop}
spec: {hosts: [a.example], routes: [{name: all, route: [{destination: {host: a.example}}]}]}
---
apiVersion: microservice.slime.io/v1alpha2
kind: SmartLimiter
metadata: {name: reviews, namespace: shop}
spec: {sets: {_base: {descriptor: [{condition: "true", action: {fill_interval: {seconds: 60}, quota: "100/{{._base.pod}}", strategy: average}}]}}}
---
apiVersion: microservice.slime.io/v1alpha1
kind: ServiceFence
metadata: {name: productpage, namespace: shop}
spec: {enable: true, host: {"test/*": {}, reviews.shop.svc.cluster.local: {stable: {}}}}
---
apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: zk, namespace: shop}
spec: {type: zookeeper, addresses: ["10.0.0.1:2181"]}
`

// TestDefinitions: a real server takes all definitions, stores samples of each project's kinds
// under them, and refuses what has a wrong type or value; the source reads the samples.
func TestDefinitions(t *testing.T) {
	c := startCluster(t)
	list := crd.Of(file.NewDecoder())
	text, err := crd.YAML(list)
	if err != nil {
		t.Fatal(err)
	}
	c.apply(string(text))
	defs := c.client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, d := range list {
		c.until(d.Metadata.Name+" is established", func() error {
			u, err := defs.Get(t.Context(), d.Metadata.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
			said := fmt.Sprint(conditions)
			if strings.Contains(said, "NonStructuralSchema") {
				t.Errorf("%s: %s", d.Metadata.Name, said)
				return nil
			}
			if !strings.Contains(said, "type:Established") || !strings.Contains(said, "the initial names have been accepted") {
				return fmt.Errorf("%w: %s", errNotYet, said)
			}
			return nil
		})
	}
	c.discovery.Invalidate()
	c.apply(samples)
	for name, bad := range map[string]string{
		"a type":         "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bad, namespace: shop}\nspec: {hosts: reviews}\n",
		"a value":        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: bad, namespace: shop}\nspec: {action: PERHAPS}\n",
		"an alternative": "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: bad, namespace: shop}\nspec: {host: a, trafficPolicy: {loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}}}\n",
	} {
		u := parse(t, bad)
		if err := c.put(u); err == nil || !strings.Contains(err.Error(), "nvalid") && !strings.Contains(err.Error(), "expected list") {
			t.Errorf("%s that is wrong: %v", name, err)
		}
	}
	r := c.read(admin)
	for kind, name := range map[model.Kind]string{
		model.KindDestinationRule: "reviews", model.KindAuthorizationPolicy: "deny", model.KindHTTPRoute: "r", model.KindMetaRouter: "m",
		model.KindSmartLimiter: "reviews", model.KindServiceFence: "productpage", model.KindRegistry: "zk",
	} {
		r.until(string(kind)+" "+name+" is read", func() bool { return r.get(kind, "shop", name) != nil })
	}
}
