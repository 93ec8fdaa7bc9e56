package abuse

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOverloadActions: each action does what it says, and ends with the pressure.
func TestOverloadActions(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pressure")
	pressure := func(v string) {
		if err := os.WriteFile(path+".new", []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	pressure("0")
	actions := []string{"disable_http_keepalive", "stop_accepting_requests", "reject_incoming_connections", "stop_accepting_connections", "shrink_heap"}
	top := `overload_manager:
  refresh_interval: 0.02s
  resource_monitors: [{name: injected, typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: ` + path + `}}]
  actions:`
	for i, a := range actions {
		top += fmt.Sprintf("\n  - {name: envoy.overload_actions.%s, triggers: [{name: injected, threshold: {value: 0.%d}}]}", a, 15*i+10)
	}
	p := start(t, setup{top: top})
	at := func(v string, want int) {
		t.Helper()
		pressure(v)
		p.until("the pressure is noticed", func() bool {
			n := 0
			for _, a := range actions {
				n += p.stat("overload.envoy.overload_actions." + a + ".active")
			}
			return n == want
		})
	}
	answer := func(nc net.Conn) string {
		_ = nc.SetDeadline(time.Now().Add(patience))
		_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nhost: x\r\n\r\n"))
		b := make([]byte, 4096)
		n, err := nc.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	dial := func() net.Conn {
		nc, err := net.DialTimeout("tcp", p.plain, patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	p.answers()
	at("0.15", 1)
	if a := answer(dial()); !strings.Contains(a, " 200 ") || !strings.Contains(a, "connection: close") {
		t.Errorf("without keepalive: %q", a)
	}
	kept := dial()
	at("0.3", 2)
	if a := answer(dial()); !strings.Contains(a, " 503 ") || !strings.Contains(a, "envoy overloaded") {
		t.Errorf("without requests: %q", a)
	}
	if n := p.stat("http.plain.downstream_rq_overload_close"); n != 1 {
		t.Errorf("downstream_rq_overload_close is %d", n)
	}
	at("0.45", 3)
	refused := dial()
	_ = refused.SetDeadline(time.Now().Add(patience))
	if n, err := refused.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection was not closed: %d bytes, %v", n, err)
	}
	// A connection is closed first and counted then.
	p.until("downstream_cx_overload_reject is 1", func() bool {
		return p.stat("listener."+strings.ReplaceAll(p.plain, ":", "_")+".downstream_cx_overload_reject") == 1
	})
	if a := answer(kept); !strings.Contains(a, " 503 ") { // and without a new connection
		t.Errorf("on a connection from before: %q", a)
	}
	at("0.6", 4)
	dial() // the one that the listener was waiting for
	total := p.stat("http.plain.downstream_cx_total")
	waiting := dial()
	_, _ = waiting.Write([]byte("GET / HTTP/1.1\r\nhost: x\r\n\r\n"))
	at("0.8", 5)
	if n := p.stat("http.plain.downstream_cx_total"); n > total+1 {
		t.Errorf("%d connections were taken after the listeners had stopped", n-total)
	}
	at("0", 0)
	b := make([]byte, 4096)
	_ = waiting.SetDeadline(time.Now().Add(patience))
	if n, err := waiting.Read(b); err != nil || !strings.Contains(string(b[:n]), " 200 ") {
		t.Errorf("who had waited was answered %q, %v", b[:n], err)
	}
	p.answers()
}

// TestMemoryLimit: with a limit of memory the proxy sheds before it dies of it, without
// configuration, and recovers.
func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	p := start(t, setup{env: []string{"GOMEMLIMIT=24MiB"}, listener: "", hcm: ", stream_idle_timeout: 0s"})
	p.answers()
	n := 3000
	var crowd []net.Conn
	refused := func() bool { return p.stat("http.secure.downstream_rq_overload_close") > 0 }
	defer func() {
		for _, nc := range crowd {
			nc.Close()
		}
	}()
	for i := 0; i < n && !refused(); i += 50 { // each holds a head that is nearly too large
		crowd = append(crowd, attack(t, p.plain, 50, func(_ int, nc net.Conn) error {
			_, err := nc.Write([]byte("GET / HTTP/1.1\r\nhost: x\r\na: " + strings.Repeat("x", 50<<10)))
			return err
		})...)
		_, _ = p.ask(p.secure, "/other")
	}
	if !refused() {
		t.Fatalf("%d heads of 50 KiB, and no request was shed", len(crowd))
	}
	t.Logf("%d heads of 50 KiB, %d MiB resident, when the first request was shed", len(crowd), p.memory()>>20)
	for _, nc := range crowd {
		nc.Close()
	}
	p.until("it recovers", func() bool {
		status, err := p.ask(p.secure, "/other")
		return err == nil && status == 200
	})
}
