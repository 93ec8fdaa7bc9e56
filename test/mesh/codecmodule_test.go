package mesh

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

// tickers is a mesh whose protocol "ticker" is a module (examples/wasm-codec).
var tickers = twoVersions("ticker", "ticker", "tcp-metaprotocol-ticker", "7000") + pageOf("ticker", "page") + strictTLS + `apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: ApplicationProtocol
metadata: {name: ticker}
spec: {protocol: ticker, module: {url: MODULE}}
---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: ticker, namespace: default}
spec:
  hosts: [ticker]
  routes:
  - match: {attributes: {user: {exact: jason}}}
    route: [{destination: {host: ticker, subset: v2}}]
  - route: [{destination: {host: ticker, subset: v1}}]
    requestMutation: [{key: desk, value: north}]
    responseMutation: [{key: seen, value: "yes"}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ticker, namespace: default}
spec:
  selector: {matchLabels: {app: ticker}}
  action: DENY
  rules: [{to: [{operation: {paths: [/SECRET]}}]}]
`

// tickerID is the line that proxies add to requests for traces and logs.
var tickerID = regexp.MustCompile(`x-request-id=[-0-9a-f]{36}\n`)

// TestCodecModule: a protocol whose codec is a module has routes on its fields, changes, mutual TLS, authorization and metrics;
// the module's failure costs the connection that it was asked for.
func TestCodecModule(t *testing.T) {
	t.Parallel()
	code := buildModule(t, "examples/wasm-codec")
	var there atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !there.Load() {
			http.NotFound(w, r)
			return
		}
		http.ServeFile(w, r, code)
	}))
	defer server.Close()
	m := startText(t, tickers, options{engine: "go", unready: true}, "MODULE", server.URL+"/ticker.wasm")
	m.eventually("the control plane answers", func() error {
		if out, _ := m.weft("status", "-o", "json"); !strings.HasPrefix(strings.TrimSpace(out), "{") {
			return errors.New(out)
		}
		return nil
	})
	// Until the module is there the protocol is bytes, of which the policy cannot tell what is secret, and a Finding.
	m.finding("WEFT0193", "spec.module.url", "404")
	m.want("/?symbol=A", "", 502, "EOF")
	there.Store(true)
	m.want("/?symbol=A", "", 200, "A from=v1\nsymbol=A\n")
	m.want("/?symbol=A", "", 200, "desk=north\n")
	m.want("/?symbol=A&user=jason", "", 200, "from=v2\n") // each proxy has it in its own time
	for query, want := range map[string]string{
		"symbol=A&user=jason":    "200 A from=v2\nsymbol=A\nuser=jason\n",
		"desk=south&symbol=A":    "200 A from=v1\nsymbol=A\ndesk=north\nseen=yes\n",
		"symbol=SECRET":          "200 E status=403\ntext=RBAC: access denied\nseen=yes\n",
		"panic=1":                "502 EOF\n",
		"symbol=B&user=jason":    "200 A from=v2\nsymbol=B\nuser=jason\n",
		"symbol=A&user=somebody": "200 A from=v1\nsymbol=A\nuser=somebody\ndesk=north\nseen=yes\n",
	} {
		a := m.get("/?"+query, "")
		if got := tickerID.ReplaceAllString(fmt.Sprint(a.code, " ", a.body), ""); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	m.eventually("metrics", func() error {
		for instance, part := range map[string]string{"page-0": `reporter="source"`, "ticker-v1-0": `reporter="destination"`} {
			if !counted(m.admin(instance, "/stats/prometheus"), "ticker", part) {
				return fmt.Errorf("%s has no istio_requests_total of ticker with %s", instance, part)
			}
		}
		return nil
	})
}
