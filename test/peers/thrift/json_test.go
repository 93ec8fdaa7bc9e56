package thrift

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	apache "github.com/apache/thrift/lib/go/thrift"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/dataplane"
	"github.com/weftmesh/weft/test/freeport"
)

// thrown is a result with a declared exception.
type thrown struct{}

func (thrown) Write(ctx context.Context, p apache.TProtocol) error {
	return errors.Join(p.WriteStructBegin(ctx, "result"), p.WriteFieldBegin(ctx, "no", apache.STRUCT, 1), (&args{id: 1, text: "gone"}).Write(ctx, p),
		p.WriteFieldEnd(ctx), p.WriteFieldStop(ctx), p.WriteStructEnd(ctx))
}

func (thrown) Read(context.Context, apache.TProtocol) error { return nil }

// gateway has a listener of HTTP in front of a server of Thrift.
const gateway = `
node: {id: json, cluster: peers}
admin: {address: {socket_address: %[1]s}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: %[2]s}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          http_filters:
          - {name: weft.filters.http.convert, typed_config: {"@type": type.googleapis.com/weft.wire.v1.MessageConversion}}
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            name: r
            virtual_hosts:
            - name: v
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: one, timeout: 60s}
                typed_per_filter_config:
                  weft.filters.http.convert:
                    "@type": type.googleapis.com/weft.wire.v1.MessageConversion
                    protocol: thrift
                    declared: {transport: %[4]s, protocol: %[5]s, multiplexed: %[6]v, exceptionStatus: {NotFound: 404}, idl: "exception NotFound { 1: string why }
                      service Demo { string say(1: string text), string refuse(1: string text) throws (1: NotFound no), string missing(), oneway void tell(1: string text) }"}
  clusters:
  - {name: one, type: STATIC, load_assignment: {cluster_name: one, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: %[3]s}}}]}]}}
`

// transports by the names of forms.
var transports = map[string]string{"buffered": "unframed", "framed": "framed", "header": "header"}

// TestJSON: clients of HTTP call servers of Apache's library.
func TestJSON(t *testing.T) {
	t.Parallel()
	for _, f := range forms() {
		for _, multiplexed := range []bool{false, true} {
			t.Run(fmt.Sprint(f.name, " ", multiplexed), func(t *testing.T) {
				t.Parallel()
				s := serve(t, "one", f)
				transport, protocol, _ := strings.Cut(f.name, " ")
				if protocol == "" {
					protocol = "compact" // THeader's default
				}
				listen, admin := freeport.Addr(t), freeport.Addr(t)
				dataplane.Start(t, fmt.Sprintf(gateway, dataplane.SocketAddress(admin), dataplane.SocketAddress(listen), dataplane.SocketAddress(s.addr), transports[transport], protocol, multiplexed),
					admin, proxy.Options{})
				name := map[bool]string{true: "Demo:"}[multiplexed]
				for _, tc := range []struct{ path, body, want string }{
					{"/Demo/say", `{"text": "hello"}`, `200 "one ` + name + `say hello"`},
					{"/Demo/say?text=there", "", `200 "one ` + name + `say there"`},
					{"/Demo/refuse", "{}", `404 {"error":{"why":"gone"},"exception":"NotFound"}`},
					{"/Demo/missing", "{}", `404 {"error":"no operation ` + name + `missing"}`},
					{"/Demo/tell", `{"text": "x"}`, "200 "},
					{"/Demo/nope", "{}", "400 path /Demo/nope: there is no such service and method in the IDL"},
					{"/Demo/say", `{"text": 7}`, "400 body: text: want a text, got 7"},
				} {
					if got := post(t, "http://"+listen+tc.path, tc.body); got != tc.want {
						t.Errorf("%s %s: %s, want %s", tc.path, tc.body, got, tc.want)
					}
				}
				deadline := time.Now().Add(time.Minute)
				for s.told.Load() != 1 && time.Now().Before(deadline) {
					time.Sleep(10 * time.Millisecond)
				}
				if got := s.told.Load(); got != 1 {
					t.Errorf("%d one-way calls came", got)
				}
			})
		}
	}
}

func post(t *testing.T, url, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(a.StatusCode, " ", string(b))
}
