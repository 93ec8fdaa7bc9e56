// Package redis holds the proxy for Redis to real servers: redis-server alone, several of them, and as a cluster; and to
// what Envoy's redis_proxy makes of the same configuration (WEFT_ENVOY).
package redis

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/freeport"
)

// patience is how long anything may take on a busy machine.
const patience = 60 * time.Second

// server starts a redis-server and returns its address.
func server(t testing.TB, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server")
	}
	addr := freeport.Addr(t)
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	cmd := exec.Command(bin, append([]string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--logfile", filepath.Join(dir, "log")}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	reach(t, addr)
	return addr
}

// reach waits until something listens.
func reach(t testing.TB, addr string) {
	t.Helper()
	until(t, addr+" listens", func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// address is a socket address in the flow style of YAML.
func address(a string) string {
	host, port, _ := net.SplitHostPort(a)
	return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
}

// static is a cluster of these servers.
func static(name, more string, addrs ...string) string {
	var eps []string
	for _, a := range addrs {
		eps = append(eps, "{endpoint: {address: "+address(a)+"}}")
	}
	return fmt.Sprintf("  - {name: %[1]s, connect_timeout: 5s, %[2]s load_assignment: {cluster_name: %[1]s, endpoints: [{lb_endpoints: [%[3]s]}]}}\n",
		name, more, strings.Join(eps, ", "))
}

// sharded shares keys out among servers, ring those of a Redis cluster.
const (
	sharded = "type: STATIC, lb_policy: MAGLEV,"
	ownRing = `lb_policy: CLUSTER_PROVIDED, cluster_type: {name: envoy.clusters.redis, typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig, cluster_refresh_rate: 1s, redirect_refresh_interval: 0.1s, redirect_refresh_threshold: 1}},`
)

// login makes the proxy log in to servers.
func login(password string) string {
	return `typed_extension_protocol_options: {envoy.filters.network.redis_proxy: {"@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions, auth_password: {inline_string: ` + password + `}}},`
}

// front is a running proxy.
type front struct{ listen, admin string }

// config is a bootstrap with one listener.
func config(f front, filter, clusters string) string {
	return fmt.Sprintf(`
node: {id: redis, cluster: peers}
admin: {address: %s}
static_resources:
  listeners:
  - name: l
    address: %s
    filter_chains:
    - filters:
      - name: redis
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy, stat_prefix: redis, %s}
  clusters:
%s`, address(f.admin), address(f.listen), filter, clusters)
}

// weft runs the own proxy, in this process.
func weft(t testing.TB, filter, clusters string) front {
	t.Helper()
	f := front{freeport.Addr(t), freeport.Addr(t)}
	file := write(t, config(f, filter, clusters))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- proxy.Run(ctx, proxy.Options{Bootstrap: file, DrainTime: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ready(t, f)
	return f
}

// envoy runs Envoy; the test is skipped where there is none.
func envoy(t testing.TB, filter, clusters string) front {
	t.Helper()
	bin := os.Getenv("WEFT_ENVOY")
	if bin == "" {
		t.Skip("WEFT_ENVOY is not set")
	}
	f := front{freeport.Addr(t), freeport.Addr(t)}
	file := write(t, config(f, filter, clusters))
	cmd := exec.Command(bin, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "off")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ready(t, f)
	return f
}

func write(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func ready(t testing.TB, f front) {
	t.Helper()
	until(t, "the proxy is ready", func() bool {
		res, err := http.Get("http://" + f.admin + "/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	reach(t, f.listen)
}

// client speaks RESP by hand.
type client struct {
	t testing.TB
	c net.Conn
	r *bufio.Reader
}

func connect(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &client{t, c, bufio.NewReader(c)}
}

// send sends commands, one a line, in one write.
func (c *client) send(lines ...string) {
	c.t.Helper()
	var b strings.Builder
	for _, line := range lines {
		words := strings.Split(line, " ")
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	if _, err := c.c.Write([]byte(b.String())); err != nil {
		c.t.Fatal(err)
	}
}

// read reads one answer, in a form that can be compared: words, [lists], -errors, nil.
func (c *client) read() string {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return "end"
	}
	line = strings.TrimRight(line, "\r\n")
	var n int
	switch line[0] {
	case '$', '*', '%', '~', '>':
		if _, err := fmt.Sscan(line[1:], &n); err != nil {
			return "not RESP: " + line
		}
	}
	switch line[0] {
	case '$':
		if n < 0 {
			return "nil"
		}
		b := make([]byte, n+2)
		for got := 0; got < len(b); {
			m, err := c.r.Read(b[got:])
			if err != nil {
				return "end"
			}
			got += m
		}
		return string(b[:n])
	case '*', '%', '~', '>':
		if n < 0 {
			return "nil"
		}
		if line[0] == '%' {
			n *= 2
		}
		var all []string
		for range n {
			all = append(all, c.read())
		}
		mark := strings.Trim(line[:1], "*")
		return mark + "[" + strings.Join(all, " ") + "]"
	case '+', ':':
		return line[1:]
	case '_':
		return "nil"
	}
	return line
}

// do sends commands in one write and reads as many answers.
func (c *client) do(lines ...string) string {
	c.t.Helper()
	c.send(lines...)
	var out []string
	for range lines {
		out = append(out, c.read())
	}
	return strings.Join(out, "\n")
}

// expect compares.
func (c *client) expect(line, want string) {
	c.t.Helper()
	if got := c.do(line); got != want {
		c.t.Errorf("%s: got %q, want %q", line, got, want)
	}
}

// stat is a counter of the proxy's.
func (f front) stat(t testing.TB, name string) int {
	t.Helper()
	res, err := http.Get("http://" + f.admin + "/stats?filter=^" + name + "$")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	n := 0
	sc := bufio.NewScanner(res.Body)
	for sc.Scan() {
		if _, v, ok := strings.Cut(sc.Text(), ": "); ok && strings.HasPrefix(sc.Text(), name+":") {
			_, _ = fmt.Sscan(v, &n)
		}
	}
	return n
}
