package mesh

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
)

// transcodingMesh: the bookstore's catalogue, which speaks gRPC and tells what it serves, and a page that calls it.
var transcodingMesh = pageService + publicGateway + strictTLS + `apiVersion: v1
kind: Service
metadata: {name: catalog, namespace: default}
spec: {selector: {app: catalog}, ports: [{name: grpc, port: 9080, targetPort: 9090}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: catalog-v1, namespace: default, labels: {app: catalog, version: v1}}
spec: {command: [BIN/catalog], env: [{name: VERSION, value: v1}], ports: [{containerPort: 9090}], readinessProbe: {timeoutSeconds: 60, grpc: {port: 9090}}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: page, namespace: default, labels: {app: page}}
spec: {command: [BIN/echo], ports: [{containerPort: 9080}], readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec:
  hosts: ["*"]
  gateways: [in]
  http:
  - match: [{uri: {prefix: /bookstore.}}, {uri: {prefix: /grpc.reflection.}}]
    route: [{destination: {host: catalog}}]
  - route: [{destination: {host: page}}]
---
apiVersion: weft.dev/v1alpha1
kind: Transcoding
metadata: {name: catalog, namespace: default}
spec:
  host: catalog
  grpc: {reflection: {address: "127.0.0.1:INGRESS", refreshPeriod: 1s}}
`

// TestTranscoding: who speaks HTTP and JSON calls a gRPC service that is known by its reflection only, at the gateway and from
// within the mesh.
func TestTranscoding(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"go", "envoy"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			m := startText(t, transcodingMesh, options{engine: engine})
			for id, want := range map[string]string{
				"weft": `200 {"id":"weft","title":"Threads of Execution","author":"G. Routine","year":2009,"price":"3450"}`,
				"nope": `404 {"code":5,"message":"no book \"nope\""`,
			} {
				m.eventually("the gateway makes gRPC of JSON", func() error {
					a, err := m.http.Post(m.base+"/bookstore.catalog.v1.Catalog/Get", "application/json", strings.NewReader(`{"id": "`+id+`"}`))
					if err != nil {
						return err
					}
					defer a.Body.Close()
					body, err := io.ReadAll(a.Body)
					if got := fmt.Sprint(a.StatusCode, " ", strings.ReplaceAll(string(body), ", ", ",")); err != nil || !strings.HasPrefix(got, want) {
						return fmt.Errorf("%s: %s, want %s", id, got, want)
					}
					return nil
				})
			}
			// A sidecar does the same, for a client that knows the service's name and nothing of gRPC.
			inside := url.QueryEscape("http://catalog:9080/bookstore.catalog.v1.Catalog/List")
			m.eventually("a sidecar does", func() error {
				a := m.get("/echo/call?method=POST&url="+inside, "")
				if !strings.HasPrefix(a.body, `200 {"books":[{"id":"loom"`) || !strings.Contains(a.body, `"servedBy":"v1"`) {
					return fmt.Errorf("%d %s", a.code, a.body)
				}
				return nil
			})
		})
	}
}
