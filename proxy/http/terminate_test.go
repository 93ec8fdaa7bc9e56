package http

import (
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/proxy/route"
)

// hasty answers four bytes with four others and closes at once.
func hasty(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				b := make([]byte, 4)
				if _, err := io.ReadFull(nc, b); err == nil {
					_, _ = nc.Write([]byte("pong"))
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// TestHastyServer: a server that closes with its answer loses nothing of it, whatever
// comes first: the answer, or the end of the request.
func TestHastyServer(t *testing.T) {
	rt := route.Route{
		Match:   route.Match{Path: "/"},
		Forward: &route.Forward{Cluster: "tcp", Upgrades: []route.Upgrade{{Type: "CONNECT", Enabled: true, Terminate: true, AllowPost: true}}},
	}
	k := start(t, routes(rt), nil, upstreamSpec("tcp", hasty(t)))
	c := client(t)
	var wg sync.WaitGroup
	for range 8 { // fewer requests than the log's channel has room for
		wg.Go(func() {
			for range 50 {
				resp, err := c.Do(request(t, nethttp.MethodPost, k.url("/x"), strings.NewReader("ping")))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(b) != "pong" || err != nil {
					t.Errorf("got %q, %v", b, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
