package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/weftmesh/weft/examples/own-codec/quote"
	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/test/dataplane"
	"github.com/weftmesh/weft/test/freeport"
)

const bootstrap = `
node: {id: quotes, cluster: quotes}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: quotes
        typed_config:
          "@type": type.googleapis.com/weft.wire.v1.MessageProxy
          protocol: quote
          manager:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: quotes
            http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
            route_config:
              name: r
              virtual_hosts:
              - name: v
                domains: ["*"]
                routes:
                - {match: {prefix: /, headers: [{name: desk, string_match: {exact: closed}}]}, direct_response: {status: 403, body: {inline_string: the desk is closed}}}
                - {match: {prefix: /}, route: {cluster: up}}
  clusters:
  - {name: up, type: STATIC, load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}}
`

// TestQuote runs the protocol through the proxy.
func TestQuote(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go serve(ln)
	t.Cleanup(func() { ln.Close() })
	port := freeport.Port(t)
	text := fmt.Sprintf(bootstrap, port, ln.Addr().(*net.TCPAddr).Port)
	dataplane.Start(t, text, "", proxy.Options{Protocols: []*codec.Protocol{&quote.Protocol}})
	nc := dial(t, fmt.Sprintf("127.0.0.1:%d", port))
	for i, x := range []struct {
		kind        byte
		text, wants string
	}{
		{'Q', "WEFT\nlondon\n", "A WEFT\nlondon\n: 42"},
		{'Q', "WEFT\nclosed\n", "E the desk is closed"},
		{'P', "", "R "},
	} {
		id := uint32(100 + i) //nolint:gosec // small
		if _, err := nc.Write(message(id, x.kind, x.text)); err != nil {
			t.Fatal(err)
		}
		got, kind, text, err := read(nc)
		if s := string(kind) + " " + text; err != nil || got != id || s != x.wants {
			t.Errorf("%q: %d %q, %v, want %d %q", x.text, got, s, err, id, x.wants)
		}
	}
}

// dial waits until the proxy listens.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			t.Cleanup(func() { nc.Close() })
			_ = nc.SetDeadline(time.Now().Add(time.Minute))
			return nc
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func serve(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer nc.Close()
			for {
				id, _, text, err := read(nc)
				if err != nil {
					return
				}
				_, _ = nc.Write(message(id, 'A', text+": 42"))
			}
		}()
	}
}

func read(r io.Reader) (id uint32, kind byte, text string, err error) {
	head := make([]byte, 9)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, 0, "", err
	}
	body := make([]byte, binary.BigEndian.Uint32(head)-9)
	_, err = io.ReadFull(r, body)
	return binary.BigEndian.Uint32(head[4:]), head[8], string(body), err
}

func message(id uint32, kind byte, text string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(9+len(text))) //nolint:gosec // short
	return append(append(binary.BigEndian.AppendUint32(b, id), kind), text...)
}
