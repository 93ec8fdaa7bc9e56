// Package h2spec runs the HTTP/2 conformance tool against the proxy's
// downstream side, with an upstream that reads whole requests.
package h2spec

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/dataplane"
	"github.com/weftmesh/weft/test/freeport"
)

const bootstrap = `
node: {id: h2spec, cluster: peers}
admin: {address: {socket_address: %s}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: h2spec
          codec_type: HTTP2
          route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: up}}]}]}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 5s
    load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
`

// summary is the tool's last line.
var summary = regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`)

func TestConformance(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	}))
	defer up.Close()
	listen, admin := freeport.Port(t), freeport.Addr(t)
	text := fmt.Sprintf(bootstrap, dataplane.SocketAddress(admin), listen, up.Listener.Addr().(*net.TCPAddr).Port)
	dataplane.Start(t, text, admin, proxy.Options{})
	out, err := exec.Command("go", "tool", "-modfile=tool/go.mod", "h2spec", "--strict", "--timeout", "5", "--port", fmt.Sprint(listen)).CombinedOutput()
	m := summary.FindSubmatch(out)
	if err != nil || m == nil || string(m[1]) != string(m[2]) || len(m[1]) < 3 {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", m[0])
}
