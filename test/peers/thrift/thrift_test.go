package thrift

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apache "github.com/apache/thrift/lib/go/thrift"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/dataplane"
	"github.com/weftmesh/weft/test/freeport"
)

// bootstrap has routes to one cluster of both servers, and to one of each.
const bootstrap = `
node: {id: thrift, cluster: peers}
admin: {address: {socket_address: %[1]s}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: %[2]s}
    filter_chains:
    - filters:
      - name: thrift
        typed_config:
          "@type": type.googleapis.com/weft.wire.v1.MessageProxy
          protocol: thrift
          manager:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: thrift
            http_filters:
            - {name: local, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: l}}
            - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
            route_config:
              name: r
              virtual_hosts:
              - name: v
                domains: ["*"]
                routes:
                - match: {prefix: /, headers: [{name: ":method", string_match: {exact: split}}]}
                  route: {weighted_clusters: {clusters: [{name: one, weight: 30}, {name: two, weight: 70}]}}
                - match: {prefix: /Named/}
                  route: {cluster: two}
                - match: {prefix: /, headers: [{name: user, string_match: {exact: jason}}]}
                  route: {cluster: two}
                - match: {path: /nowhere}
                  direct_response: {status: 404, body: {inline_string: no such operation here}}
                - match: {path: /limited}
                  route: {cluster: one}
                  typed_per_filter_config:
                    local:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                      stat_prefix: l
                      token_bucket: {max_tokens: 3, fill_interval: 3600s}
                      filter_enabled: {default_value: {numerator: 100}}
                      filter_enforced: {default_value: {numerator: 100}}
                - match: {path: /again}
                  route: {cluster: both, retry_policy: {retry_on: "connect-failure,reset,refused-stream", num_retries: 5,
                    retry_host_predicate: [{name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}],
                    host_selection_retry_max_attempts: 5}}
                - match: {prefix: /}
                  route: {cluster: one, timeout: 30s}
  clusters:
  - {name: one, type: STATIC, load_assignment: {cluster_name: one, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: %[3]s}}}]}]}}
  - {name: two, type: STATIC, load_assignment: {cluster_name: two, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: %[4]s}}}]}]}}
  - {name: both, type: STATIC, load_assignment: {cluster_name: both, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: %[3]s}}}, {endpoint: {address: {socket_address: %[4]s}}}]}]}}
`

func run(t *testing.T, io string, one, two *server) string {
	t.Helper()
	listen, admin := freeport.Addr(t), freeport.Addr(t)
	text := fmt.Sprintf(bootstrap, dataplane.SocketAddress(admin), dataplane.SocketAddress(listen), dataplane.SocketAddress(one.addr), dataplane.SocketAddress(two.addr))
	dataplane.Start(t, text, admin, proxy.Options{IO: io})
	return listen
}

// client is a connection of Apache's library.
type client struct {
	t     *testing.T
	p     apache.TProtocol
	inner *apache.TStandardClient
	ctx   context.Context
}

func dial(t *testing.T, f form, addr string) *client {
	t.Helper()
	socket := apache.NewTSocketConf(addr, &apache.TConfiguration{ConnectTimeout: time.Minute, SocketTimeout: time.Minute})
	tr, err := f.transport.GetTransport(socket)
	if err == nil {
		err = tr.Open()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	p := f.protocol.GetProtocol(tr)
	return &client{t: t, p: p, inner: apache.NewTStandardClient(p, p), ctx: t.Context()}
}

// call is what the server said, or the error.
func (c *client) call(name, text string) string {
	got := &args{}
	if _, err := c.inner.Call(c.ctx, name, &args{id: 1, text: text}, got); err != nil {
		return err.Error()
	}
	return got.text
}

// tell makes a one-way call. (The library's own client writes those as calls that nobody answers.)
func (c *client) tell(text string) {
	a := &args{id: 1, text: text}
	if err := errors.Join(c.p.WriteMessageBegin(c.ctx, "tell", apache.ONEWAY, 0), a.Write(c.ctx, c.p), c.p.WriteMessageEnd(c.ctx), c.p.Flush(c.ctx)); err != nil {
		c.t.Error(err)
	}
}

func TestThrift(t *testing.T) {
	for _, io := range []string{proxy.IOLoop, proxy.IOGoroutine} {
		for _, f := range forms() {
			t.Run(io+"/"+f.name, func(t *testing.T) {
				one, two := serve(t, "one", f), serve(t, "two", f)
				c := dial(t, f, run(t, io, one, two))
				large := strings.Repeat("0123456789abcdef", 1<<15)
				for _, x := range []struct{ name, text, want string }{
					{"add", "x", "one add x"},
					{"Named:add", "x", "two Named:add x"},
					{"large", large, "one large " + large},
					{"throw", "x", "declared"},
					{"missing", "x", "no operation missing"},
					{"nowhere", "x", "no such operation here"},
				} {
					if got := c.call(x.name, x.text); got != x.want {
						t.Errorf("%s: %.80q, want %.80q", x.name, got, x.want)
					}
				}
				c.tell("x")
				c.limited()
				c.split()
				if got := one.told.Load(); got != 1 { // calls came after it
					t.Errorf("%d one-way calls arrived, want 1", got)
				}
				c.again(one, two)
			})
		}
	}
}

// limited: three calls pass.
func (c *client) limited() {
	c.t.Helper()
	for i := range 5 {
		want := "one limited x"
		if i >= 3 {
			want = "local_rate_limited"
		}
		if got := c.call("limited", "x"); got != want {
			c.t.Errorf("call %d: %q, want %q", i, got, want)
		}
	}
}

// split: shares of calls, not of connections.
func (c *client) split() {
	c.t.Helper()
	const n = 400
	count := 0
	for range n {
		if strings.HasPrefix(c.call("split", ""), "one ") {
			count++
		}
	}
	if count < n*20/100 || count > n*40/100 {
		c.t.Errorf("%d of %d calls went where 30 %% are to go", count, n)
	}
}

// again: a server dies, and its client notices nothing.
func (c *client) again(one, two *server) {
	c.t.Helper()
	before := two.calls.Load()
	for i := range 40 {
		if i == 10 {
			one.stop()
		}
		if got := c.call("again", "x"); got != "one again x" && got != "two again x" {
			c.t.Fatalf("call %d: %q", i, got)
		}
	}
	if two.calls.Load()-before < 30 {
		c.t.Errorf("the other server got %d calls", two.calls.Load()-before)
	}
}
