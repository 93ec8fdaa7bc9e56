package proxy_test

import (
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// TestConnectionLimit: one connection at a time, the next is closed, and the
// place is free again when the first has gone.
func TestConnectionLimit(t *testing.T) {
	addr := freeport.Addr(t)
	admin := runStatic(t, `
static_resources:
  listeners:
  - name: l
    address: {L}
    filter_chains:
    - filters:
      - name: limit
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit, stat_prefix: one, max_connections: 1}
      - `+tcpTo+staticUp, map[string]string{"L": addr, "UP": echoServer(t)})
	echoes := func(c net.Conn) bool {
		_, _ = io.WriteString(c, "x")
		_, err := io.ReadFull(c, make([]byte, 1))
		return err == nil
	}
	first := connect(t, addr)
	if !echoes(first) {
		t.Fatal("the first connection is not served")
	}
	if second := connect(t, addr); echoes(second) {
		t.Error("the second connection is served")
	}
	if got, want := statsOf(t, admin, "connection_limit.one."), "active_connections: 1 limited_connections: 1"; got != want {
		t.Errorf("statistics %s, want %s", got, want)
	}
	first.Close()
	for end := time.Now().Add(60 * time.Second); ; {
		third := connect(t, addr)
		ok := echoes(third)
		third.Close()
		if ok {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place of the first connection is not free again")
		}
	}
}

// TestSNICluster: the server name chooses the cluster, without the proxy
// decrypting anything.
func TestSNICluster(t *testing.T) {
	ca := newPKI(t)
	serve := func(name string, serial int64) string {
		cert := ca.issue(name, serial)
		ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_ = c.SetDeadline(time.Now().Add(60 * time.Second))
				_, _ = io.WriteString(c, name)
				c.Close()
			}
		}()
		t.Cleanup(func() { ln.Close(); <-done })
		return ln.Addr().String()
	}
	addr := freeport.Addr(t)
	runStatic(t, `
static_resources:
  listeners:
  - name: l
    address: {L}
    listener_filters: [{name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]
    filter_chains:
    - filter_chain_match: {transport_protocol: tls}
      filters:
      - {name: sni, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.sni_cluster.v3.SniCluster}}
      - `+tcpTo+staticUp+`
  - {name: b.example, type: STATIC, load_assignment: {cluster_name: b, endpoints: [{lb_endpoints: [{endpoint: {address: {B}}}]}]}}
`, map[string]string{"L": addr, "UP": serve("up", 20), "B": serve("b.example", 21)})
	for sni, want := range map[string]string{"": "up", "b.example": "b.example", "up": "up", "nowhere": ""} {
		c := tls.Client(connect(t, addr), &tls.Config{InsecureSkipVerify: true, ServerName: sni})
		b, _ := io.ReadAll(c)
		if string(b) != want {
			t.Errorf("server name %q: cluster %q, want %q", sni, b, want)
		}
	}
}
