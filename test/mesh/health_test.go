package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/test/freeport"
)

// machines are those that register themselves, and what they serve.
const machines = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms, namespace: shop}
spec:
  metadata: {labels: {app: web}}
  template: {serviceAccount: web, ports: {http: 8080}}
  probe: {httpGet: {path: /, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
`

// TestMachineTellsItsHealth: a proxy with pilot-agent's environment joins a control plane
// that runs by itself as a machine of a WorkloadGroup, asks its program by the probe of
// its configuration, and the machine takes traffic while the program is well.
func TestMachineTellsItsHealth(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("built on Linux only")
	}
	dir := work(t)
	conf := filepath.Join(dir, "conf")
	if err := os.Mkdir(conf, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(conf, "vms.yaml"), []byte(machines), 0o600); err != nil {
		t.Fatal(err)
	}
	xds := fmt.Sprintf("127.0.0.1:%d", freeport.Port(t))
	socket := filepath.Join(dir, "console.sock")
	background(t, exec.Command(filepath.Join(bin, "weft"), "control", "--config", conf, "--xds-plaintext", xds, "--console-socket", socket, "--state-dir", filepath.Join(dir, "state")))

	var well atomic.Bool
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer program.Close()
	port := program.Listener.Addr().(*net.TCPAddr).Port
	config := fmt.Sprintf(`{"discoveryAddress": %q, "controlPlaneAuthPolicy": "NONE", "proxyAdminPort": %d, "statusPort": %d,
		"readinessProbe": {"httpGet": {"path": "/", "port": %d}, "periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1}}`, xds, freeport.Port(t), freeport.Port(t), port)
	proxy := exec.Command(filepath.Join(bin, "weft"), "proxy", "--istio", "sidecar", "--port-health", fmt.Sprint(freeport.Port(t)),
		"--port-prometheus", fmt.Sprint(freeport.Port(t)), "--port-merged", "0", "--no-dns", "--socket-path", filepath.Join(dir, "next.sock"))
	proxy.Dir = dir
	proxy.Env = append(os.Environ(), "PROXY_CONFIG="+config, "POD_NAME=machine-1", "POD_NAMESPACE=shop", "INSTANCE_IP=10.9.9.9", "ISTIO_META_AUTO_REGISTER_GROUP=vms")
	background(t, proxy)

	until := func(what string, replicas, ready int) {
		t.Helper()
		deadline := time.Now().Add(patience)
		for {
			row, err := webOf(socket)
			if err == nil && row.Replicas == replicas && row.Ready == ready {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v, %v; want %d of %d ready", what, row, err, ready, replicas)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	until("it has registered, and its program is not well", 1, 0)
	well.Store(true)
	until("its program is well", 1, 1)
	well.Store(false)
	until("its program is ill", 1, 0)
}

// webOf is the service of a control plane's mesh as its console shows it.
func webOf(socket string) (row console.ServiceRow, err error) {
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://weft/v1/services")
	if err != nil {
		return row, err
	}
	defer resp.Body.Close()
	var rows []console.ServiceRow
	if err := json.NewDecoder(resp.Body).Decode(&rows); err != nil || len(rows) != 1 {
		return row, fmt.Errorf("%d services: %v", len(rows), err)
	}
	return rows[0], nil
}

// background runs a program for as long as the test, and shows what it said when that fails.
func background(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Args[1], last(out.String(), 4000))
		}
	})
}
