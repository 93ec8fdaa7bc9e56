package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weftmesh/weft/test/freeport"
)

// endpoints sets several endpoints of one locality.
func (m *mesh) endpoints(name string, addrs ...string) {
	m.t.Helper()
	var list []string
	for _, a := range addrs {
		ap := netip.MustParseAddrPort(a)
		list = append(list, fmt.Sprintf("{endpoint: {address: {socket_address: {address: %s, port_value: %d}}}}", ap.Addr(), ap.Port()))
	}
	m.set(name, fmt.Sprintf("{cluster_name: %s, endpoints: [{lb_endpoints: [%s]}]}", name, strings.Join(list, ", ")), &endpointv3.ClusterLoadAssignment{})
}

// eventuallyHas repeats a request until its answer has what is wanted.
func eventuallyHas(t *testing.T, addr, path, want string) {
	t.Helper()
	end := time.Now().Add(60 * time.Second)
	got := ""
	for time.Now().Before(end) {
		if got = get(addr, path); strings.Contains(got, want) {
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("GET %s: got\n%s\nwant %q in it", path, got, want)
}

func TestActiveHealthChecks(t *testing.T) {
	m := newMesh(t)
	var sick atomic.Bool
	sick.Store(true)
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		switch {
		case r.URL.Path == "/healthz" && r.Host == "hc.example" && !sick.Load():
		case r.URL.Path == "/healthz":
			w.WriteHeader(503)
		default:
			fmt.Fprint(w, "two")
		}
	}))
	t.Cleanup(s.Close)
	one, two := backend(t, "one"), s.Listener.Addr().String()
	addr := freeport.Addr(t)
	m.cluster("a", `, common_lb_config: {healthy_panic_threshold: {value: 0}}, health_checks: [{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s,
		unhealthy_threshold: 2, healthy_threshold: 2, http_health_check: {path: /healthz, host: hc.example}}]`)
	m.endpoints("a", one, two)
	m.listener("l", addr, "", httpFilters("r"))
	m.routes("r", toA)
	m.listen()
	eventually(t, addr, "/x", "one GET /x")
	for range 10 {
		if got := get(addr, "/x"); got != "one GET /x" {
			t.Errorf("a host that failed its check got a request: %s", got)
		}
	}
	if got, want := get(m.admin, "/clusters"), "a::"+two+"::health_flags::/failed_active_hc\n"; !strings.Contains(got, want) {
		t.Errorf("/clusters has no %q:\n%s", want, got)
	}
	if got, want := get(m.admin, "/clusters?format=json"), `"failed_active_health_check"`; !strings.Contains(got, want) {
		t.Errorf("/clusters?format=json has no %q:\n%s", want, got)
	}
	sick.Store(false)
	eventually(t, addr, "/x", "two")
	eventuallyHas(t, m.admin, "/stats", "cluster.a.membership_healthy: 2\n")
	eventuallyHas(t, m.admin, "/stats", "cluster.a.health_check.healthy: 2\n")
}

func TestDynamicForwardProxy(t *testing.T) {
	m := newMesh(t)
	cache := "dns_cache_config: {name: d, dns_lookup_family: V4_ONLY}"
	m.set("a", `{name: a, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: x, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig, `+cache+"}}}", &clusterv3.Cluster{})
	addr := freeport.Addr(t)
	_, port, _ := strings.Cut(backend(t, "one"), ":")
	filters := strings.Replace(httpFilters("r"), "http_filters: [", `http_filters: [{name: dfp, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig, `+cache+"}}, ", 1)
	m.listener("l", addr, "", filters)
	m.routes("r", `{match: {prefix: /literal}, route: {cluster: a}, typed_per_filter_config: {dfp: {
		"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig, host_rewrite_literal: "localhost:`+port+`"}}},
		{match: {prefix: /header}, route: {cluster: a}, typed_per_filter_config: {dfp: {
		"@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig, host_rewrite_header: x-to}}}, `+toA)
	m.listen()
	eventually(t, addr, "/literal", "one GET /literal")
	ask := func(path, host string, header ...string) string {
		r, err := nethttp.NewRequestWithContext(t.Context(), nethttp.MethodGet, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := nethttp.DefaultClient.Do(r)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(b))
	}
	for _, c := range []struct{ got, want string }{
		{ask("/x", "localhost:"+port), "200 one GET /x"},
		{ask("/y", "127.0.0.1:"+port), "200 one GET /y"},
		{ask("/header", "nowhere.invalid", "x-to", "localhost:"+port), "200 one GET /header"},
		{ask("/z", "nowhere.invalid:"+port), "503 DNS resolution failure"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	eventuallyHas(t, m.admin, "/stats", "dns_cache.d.num_hosts: 2\n")
}

func TestSNIDynamicForwardProxy(t *testing.T) {
	m := newMesh(t)
	s := httptest.NewTLSServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) { fmt.Fprint(w, "secret") }))
	t.Cleanup(s.Close)
	cache := "dns_cache_config: {name: d, dns_lookup_family: V4_ONLY}"
	m.set("a", `{name: a, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: x, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig, `+cache+"}}}", &clusterv3.Cluster{})
	addr := freeport.Addr(t)
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	m.listener("l", addr, `listener_filters: [{name: i, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]
`, `
  - name: sni
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig, port_value: `+port+", "+cache+`}
  - name: tcp
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: a}
`)
	m.listen()
	ask := func(sni string) string {
		client := &nethttp.Client{Transport: &nethttp.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: sni}}}
		resp, err := client.Get("https://" + addr)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	end := time.Now().Add(60 * time.Second)
	for ask("localhost") != "secret" {
		if time.Now().After(end) {
			t.Fatalf("through the name in the handshake: %s", ask("localhost"))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := ask("nowhere.invalid"); got == "secret" {
		t.Error("a name that does not exist got through")
	}
}

func TestOriginalDestinationFromMetadata(t *testing.T) {
	m := newMesh(t)
	m.set("a", `{name: a, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s, original_dst_lb_config: {metadata_key: {key: to, path: [{key: x}, {key: 'y'}]}}}`, &clusterv3.Cluster{})
	addr, one := freeport.Addr(t), backend(t, "one")
	m.listener("l", addr, "", strings.Replace(httpFilters("r"), "http_filters: [", `http_filters: [{name: m, typed_config: {
		"@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config, metadata: [{metadata_namespace: to, value: {x: {'y': "`+one+`"}}}]}}, `, 1))
	m.routes("r", toA)
	m.listen()
	eventually(t, addr, "/x", "one GET /x")
}

func TestUpstreamProxyProtocol(t *testing.T) {
	m := newMesh(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) { fmt.Fprint(w, "behind a header") }))
	s.Listener = &proxied{l}
	s.Start()
	t.Cleanup(s.Close)
	m.cluster("a", `, transport_socket: {name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport,
		config: {version: V1}, transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}},
		health_checks: [{timeout: 1s, interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /}}]`)
	m.endpoint("a", l.Addr().String())
	addr := freeport.Addr(t)
	m.listener("l", addr, "", httpFilters("r"))
	m.routes("r", toA)
	m.listen()
	eventually(t, addr, "/x", "behind a header")
}

// proxied wants a PROXY header on each connection, and takes it off.
type proxied struct{ net.Listener }

func (p *proxied) Accept() (net.Conn, error) {
	for {
		nc, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var line []byte
		for b := make([]byte, 1); !strings.HasSuffix(string(line), "\r\n"); line = append(line, b[0]) {
			if _, err := nc.Read(b); err != nil {
				break
			}
		}
		if strings.HasPrefix(string(line), "PROXY TCP4 127.0.0.1 127.0.0.1 ") {
			return nc, nil
		}
		nc.Close()
	}
}
