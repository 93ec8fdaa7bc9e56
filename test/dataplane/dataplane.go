// Package dataplane runs Weft's data plane inside a test, from a bootstrap as Envoy reads
// it. What the test leaves running ends with it, and an error at its end fails the test. It
// neither runs Envoy nor makes control planes.
package dataplane

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy"
)

// Start runs a data plane with the text of a bootstrap until the test ends. It returns when the
// admin API at the address says that it is ready, at once without one. Of the options the
// bootstrap is set here; without a log it logs nowhere, without a drain time it drains for 100 ms.
func Start(t testing.TB, bootstrap, admin string, o proxy.Options) {
	t.Helper()
	o.Bootstrap = filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(o.Bootstrap, []byte(bootstrap), 0o600); err != nil {
		t.Fatal(err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.DrainTime == 0 {
		o.DrainTime = 100 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- proxy.Run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("weft proxy: %v", err)
		}
	})
	if admin != "" {
		Ready(t, admin, ended)
	}
}

// Ready waits until the admin API of a proxy, Weft's or Envoy's, says that it is ready, a
// minute at most. What comes from ended, which may be nil, is why it never will be.
func Ready(t testing.TB, admin string, ended chan error) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if resp, err := http.Get("http://" + admin + "/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the proxy ended at once: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("the proxy is not ready")
}

// SocketAddress is the body of a bootstrap's socket_address for "host:port".
func SocketAddress(hostPort string) string {
	host, port, _ := net.SplitHostPort(hostPort)
	return fmt.Sprintf("{address: %s, port_value: %s}", host, port)
}
