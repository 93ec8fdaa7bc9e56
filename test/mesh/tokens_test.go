package mesh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// tokens is a mesh of a gateway, a program, and a service that authorizes. Requests
// carry a token for the gateway in "Authorization" and one for the program in "x-token".
const tokens = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: web
      envoyExtAuthzHttp:
        service: authz.default.svc.cluster.local
        port: 8000
        pathPrefix: /check
        includeRequestHeadersInCheck: [x-ext-authz]
        headersToUpstreamOnAllow: [x-checked]
        headersToDownstreamOnDeny: [x-why]
    - name: grpc
      envoyExtAuthzGrpc: {service: authz.default.svc.cluster.local, port: 9000}
    defaultConfig:
      proxyMetadata: {PILOT_JWT_ENABLE_REMOTE_JWKS: hybrid}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: authz, namespace: default}
spec: {selector: {app: authz}, ports: [{name: http, port: 8000}, {name: grpc, port: 9000}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: echo, namespace: default, labels: {app: echo}}
spec:
  command: [BIN/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: authz, namespace: default, labels: {app: authz}}
spec:
  command: [BIN/authz]
  env: [{name: KEYS, value: '@KEYS@'}]
  ports: [{name: http, containerPort: 8000}, {name: grpc, containerPort: 9000}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 8000}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: public, namespace: default}
spec:
  hosts: ["*"]
  gateways: [public]
  http:
  - match: [{headers: {"@request.auth.claims[org][group]": {exact: beta}}}]
    directResponse: {status: 203, body: {string: beta}}
  - route: [{destination: {host: echo}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: gateway, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  jwtRules: [{issuer: "https://front.test", jwks: '@KEYS@'}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: echo, namespace: default}
spec:
  selector: {matchLabels: {app: echo}}
  jwtRules:
  - issuer: https://inline.test
    audiences: [echo]
    jwks: '@KEYS@'
    fromHeaders: [{name: x-token}]
    outputClaimToHeaders: [{header: x-user, claim: user.name}]
  - issuer: https://by-proxy.test
    jwksUri: http://authz.default.svc.cluster.local:8000/keys
    fromHeaders: [{name: x-token}]
  - issuer: https://by-control.test
    jwksUri: FETCH/keys
    fromHeaders: [{name: x-token}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: echo, namespace: default}
spec:
  selector: {matchLabels: {app: echo}}
  rules:
  - from: [{source: {requestPrincipals: ["https://inline.test/*"]}}]
    when:
    - {key: "request.auth.claims[roles]", values: [admin]}
    - {key: request.auth.audiences, values: [echo]}
  - from: [{source: {requestPrincipals: ["https://by-proxy.test/ann", "https://by-control.test/ann"]}}]
  - to: [{operation: {paths: [/open, /healthz]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask-web, namespace: default}
spec:
  selector: {matchLabels: {app: echo}}
  action: CUSTOM
  provider: {name: web}
  rules: [{when: [{key: "request.headers[x-ask]", values: ["web*", both]}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask-grpc, namespace: default}
spec:
  selector: {matchLabels: {app: echo}}
  action: CUSTOM
  provider: {name: grpc}
  rules: [{when: [{key: "request.headers[x-ask]", values: [grpc, both]}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: trial, namespace: default, annotations: {istio.io/dry-run: "true"}}
spec:
  selector: {matchLabels: {app: echo}}
  action: DENY
  rules: [{}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: watch, namespace: default}
spec:
  selector: {matchLabels: {app: echo}}
  action: AUDIT
  rules: [{}]
`

func TestTokensGo(t *testing.T) { tokenMesh(t, "go") }

func TestTokensEnvoy(t *testing.T) { tokenMesh(t, "envoy") }

func tokenMesh(t *testing.T, engine string) {
	t.Parallel()
	k := newIssuer(t)
	// The control plane fetches from here.
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, k.jwks) }))
	defer srv.Close()
	m := startText(t, tokens, options{engine: engine}, "@KEYS@", k.jwks, "FETCH", srv.URL)
	admin := map[string]any{"iss": "https://inline.test", "sub": "ann", "aud": "echo", "roles": []string{"user", "admin"}, "user": map[string]any{"name": "Ann"}}
	with := func(more map[string]any) string {
		claims := map[string]any{}
		for _, from := range []map[string]any{admin, more} {
			for c, v := range from {
				claims[c] = v
			}
		}
		return k.sign(t, claims)
	}
	good := with(nil)
	for _, tc := range []struct {
		name, path string
		headers    map[string]string
		code       int
		part       string
	}{
		{"open", "/open", nil, 404, ""},
		{"no token", "/echo/headers", nil, 403, "RBAC: access denied"},
		{"a token", "/echo/headers", map[string]string{"x-token": good}, 200, "X-User: Ann"},
		{"no admin", "/echo/headers", map[string]string{"x-token": with(map[string]any{"roles": "user"})}, 403, "RBAC"},
		{"one role", "/echo/headers", map[string]string{"x-token": with(map[string]any{"roles": "admin"})}, 200, ""},
		{"another audience", "/open", map[string]string{"x-token": with(map[string]any{"aud": "x"})}, 403, "Audiences in Jwt are not allowed"},
		{"too old", "/open", map[string]string{"x-token": with(map[string]any{"exp": 1000})}, 401, "Jwt is expired"},
		{"no token at all", "/open", map[string]string{"x-token": "x.y.z"}, 401, "Jwt"},
		{"signed by another", "/open", map[string]string{"x-token": newIssuer(t).sign(t, admin)}, 401, "Jwt verification fails"},
		{"keys that the proxy fetches", "/echo/headers", map[string]string{"x-token": with(map[string]any{"iss": "https://by-proxy.test"})}, 200, ""},
		{"keys that the control plane fetches", "/echo/headers", map[string]string{"x-token": with(map[string]any{"iss": "https://by-control.test"})}, 200, ""},
		{"whose subject is another", "/echo/headers", map[string]string{"x-token": with(map[string]any{"iss": "https://by-control.test", "sub": "bob"})}, 403, "RBAC"},
		{"asked over HTTP, refused", "/open", map[string]string{"x-ask": "web"}, 403, "refused over HTTP at /check/open"},
		{"asked over HTTP, allowed", "/echo/headers", map[string]string{"x-ask": "web2", "x-ext-authz": "allow", "x-token": good}, 200, "X-Checked: http"},
		{"asked over gRPC, refused", "/open", map[string]string{"x-ask": "grpc"}, 403, "refused over gRPC"},
		{"asked over gRPC, allowed", "/echo/headers", map[string]string{"x-ask": "grpc", "x-ext-authz": "allow", "x-token": good}, 200, "X-Checked: grpc"},
		{"allowed, and refused by the policy behind", "/echo/headers", map[string]string{"x-ask": "web", "x-ext-authz": "allow"}, 403, "RBAC"},
		{"routed by claim", "/open", map[string]string{"authorization": "Bearer " + k.sign(t, map[string]any{
			"iss": "https://front.test", "sub": "a", "org": map[string]any{"group": []string{"alpha", "beta"}}})}, 203, "beta"},
		{"routed without", "/open", map[string]string{"authorization": "Bearer " + k.sign(t, map[string]any{
			"iss": "https://front.test", "sub": "a", "org": map[string]any{"group": "gamma"}})}, 404, ""},
		{"refused at the gateway", "/open", map[string]string{"authorization": "Bearer " + with(nil)}, 401, "Jwt issuer is not configured"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := *m
			m.t = t
			m.eventually(tc.name, func() error {
				code, body, err := m.with(tc.path, tc.headers)
				if err == nil && (code != tc.code || !strings.Contains(body, tc.part)) {
					err = fmt.Errorf("%d %q, want %d with %q", code, last(body, 300), tc.code, tc.part)
				}
				return err
			})
		})
	}
}

// with asks the gateway with some headers.
func (m *mesh) with(path string, headers map[string]string) (int, string, error) {
	req, err := http.NewRequest(http.MethodGet, m.base+path, nil)
	if err != nil {
		return 0, "", err
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// issuer signs tokens.
type issuer struct {
	signer jose.Signer
	jwks   string // its public key
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{signer, string(raw)}
}

func (i *issuer) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := i.signer.Sign(raw)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
