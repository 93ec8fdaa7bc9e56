package proxy_test

import (
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
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
	end := time.Now().Add(20 * time.Second)
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
	addr := freeAddr(t)
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
