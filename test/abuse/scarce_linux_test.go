package abuse

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDisk: a disk that takes no more of the access log costs lines, not requests.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	log := func(path string) string {
		return `, access_log: [{name: file, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: ` + path + `,
      log_format: {text_format_source: {inline_string: "%REQ(:PATH)% ` + strings.Repeat("x", 4000) + `\n"}}}}]`
	}
	busy := func(t *testing.T, p *proxy) {
		p.answers()
		before := p.memory()
		each(t, 20*many(), func(int) error {
			status, err := p.ask(p.plain, "/")
			if status != 200 && err == nil {
				err = fmt.Errorf("status %d", status)
			}
			return err
		})
		p.answers()
		if held := p.memory() - before; held > 24<<20 {
			t.Errorf("a full disk makes the proxy hold %d MiB", held>>20)
		}
	}
	t.Run("device", func(t *testing.T) { busy(t, start(t, setup{hcm: log("/dev/full")})) })
	t.Run("a reader that has stopped", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p := start(t, setup{hcm: log(path)})
		busy(t, p)
		go func() { _, _ = io.Copy(io.Discard, f) }() // it goes on, or the proxy could not end
	})
	t.Run("room again", func(t *testing.T) {
		dir := t.TempDir()
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
			t.Skipf("no tmpfs to be had: %v", err)
		}
		defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
		path := filepath.Join(dir, "log")
		p := start(t, setup{hcm: log(path)})
		busy(t, p)
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		p.until("the log goes on", func() bool {
			if _, err := p.ask(p.plain, "/again"); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			return err == nil && strings.Contains(string(b), "/again")
		})
	})
}

// TestNoDescriptors: without descriptors the proxy stops accepting, serves those whom it
// has, and accepts again when there are some.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	p := start(t, setup{idle: "600s"})
	p.answers()
	kept := attack(t, p.plain, 5, func(_ int, nc net.Conn) error { return exchange(nc) })
	p.limitFiles(p.descriptors() + 20)
	var crowd []net.Conn
	for range 200 { // the kernel takes what the proxy does not
		nc, err := net.DialTimeout("tcp", p.plain, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		crowd = append(crowd, nc)
	}
	p.until("it says that it cannot accept", func() bool { return strings.Contains(p.log(), "limit of open files") })
	for i, nc := range kept { // no one needs a new descriptor: the upstream connection is there
		if err := exchange(nc); err != nil {
			t.Errorf("connection %d, which was there: %v", i, err)
		}
	}
	spin, began := p.cpu(), time.Now()
	time.Sleep(time.Second) // how busy it is in a second is what is asked
	if used, took := p.cpu()-spin, time.Since(began); used > took/2 {
		t.Errorf("it burns %v of CPU in %v because it cannot accept", used, took)
	}
	for _, nc := range crowd {
		nc.Close()
	}
	p.answers()
	p.limitFiles(10000)
	for _, nc := range kept {
		if err := exchange(nc); err != nil {
			t.Error(err)
		}
	}
	p.answers()
}

// TestBlackholes: upstreams that do not answer, or do not even take the connection, end
// in time, each with the flag that says so, and hold up no one.
func TestBlackholes(t *testing.T) {
	t.Parallel()
	silent := serve(t, func(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) })
	half := serve(t, func(nc net.Conn) {
		_, _ = nc.Read(make([]byte, 4096))
		_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
		_, _ = io.Copy(io.Discard, nc)
	})
	hole := full(t)
	one := func(name, addr, connect string) string {
		return fmt.Sprintf("  - {name: %s, type: STATIC, connect_timeout: %s, %s, circuit_breakers: {thresholds: [{max_connections: 9000, max_pending_requests: 9000, max_requests: 9000}]}}\n",
			name, connect, endpoint(name, addr))
	}
	p := start(t, setup{
		routes: `{match: {prefix: /silent}, route: {cluster: silent, timeout: 1s}}, {match: {prefix: /half}, route: {cluster: half, timeout: 5s}},
      {match: {prefix: /hole}, route: {cluster: hole, timeout: 120s}},`,
		clusters: one("silent", silent, "120s") + one("half", half, "120s") + one("hole", hole, "1s"),
	})
	p.answers()
	before, files := p.memory(), p.descriptors()
	for _, c := range []struct{ path, want, stat string }{
		{"/silent", "HTTP/1.1 504 ", "cluster.silent.upstream_rq_timeout"},
		{"/half", "HTTP/1.1 200 ", "cluster.half.upstream_rq_timeout"},
		{"/hole", "HTTP/1.1 503 ", "cluster.hole.upstream_cx_connect_timeout"},
	} {
		n := many()
		conns := attack(t, p.plain, n, func(_ int, nc net.Conn) error {
			_, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", c.path)
			return err
		})
		p.answers()
		if told := thrownOut(t, conns); !strings.HasPrefix(told, c.want) {
			t.Errorf("%s: answered %q, want %s", c.path, told, c.want)
		}
		if got := p.stat(c.stat); got < n {
			t.Errorf("%s: %s is %d, want %d", c.path, c.stat, got, n)
		}
	}
	p.until("descriptors come back", func() bool { return p.descriptors() < files+20 })
	p.until("memory comes back", func() bool { return p.memory() < before+16<<20 })
	p.answers()
}

// full is an address whose queue of connections is full: a new one is not answered.
func full(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	for range 8 {
		nc, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { nc.Close() })
	}
	t.Skip("this kernel's queues do not fill")
	return ""
}
