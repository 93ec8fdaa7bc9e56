package abuse

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// many is how many attackers there are.
func many() int {
	if soak {
		return 3000
	}
	return 300
}

// attack opens connections to addr and has each say something; it returns them.
func attack(t *testing.T, addr string, n int, say func(i int, nc net.Conn) error) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	t.Cleanup(func() {
		for _, nc := range conns {
			if nc != nil {
				nc.Close()
			}
		}
	})
	each(t, n, func(i int) error {
		nc, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return err
		}
		conns[i] = nc
		_ = nc.SetDeadline(time.Now().Add(patience))
		return say(i, nc)
	})
	return conns
}

// thrownOut waits until the proxy has ended all of them, and returns what the first
// one was told.
func thrownOut(t *testing.T, conns []net.Conn) string {
	t.Helper()
	said := make([]string, len(conns))
	each(t, len(conns), func(i int) error {
		_ = conns[i].SetDeadline(time.Now().Add(patience))
		b, err := io.ReadAll(conns[i])
		said[i] = string(b)
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			return fmt.Errorf("it was never thrown out: %w", err)
		}
		return nil
	})
	return said[0]
}

// TestSlowClients: clients that take their time are thrown out by the timeout that is
// meant for them, hold no one up, and leave nothing behind.
func TestSlowClients(t *testing.T) {
	for _, c := range []struct {
		name, hcm, listener string
		secure              bool
		say                 string
		drip                string // said again and again
		told                string
		stat                string
	}{
		{name: "head byte by byte", hcm: ", request_headers_timeout: 1s", say: "GET / HTTP/1.1\r\nhost: x\r\n", drip: "a: b\r\n", told: "HTTP/1.1 408 ", stat: "http.plain.downstream_rq_header_timeout"},
		{name: "head byte by byte until idle", hcm: ", stream_idle_timeout: 1s", say: "GET / HTTP/1.1\r\nhost: x\r\n", drip: "a: b\r\n", told: "HTTP/1.1 408 ", stat: "http.plain.downstream_rq_idle_timeout"},
		{name: "body byte by byte", hcm: ", request_timeout: 1s", say: "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n", drip: "x", told: "HTTP/1.1 408 ", stat: "http.plain.downstream_rq_timeout"},
		{name: "body that stops", hcm: ", stream_idle_timeout: 1s", say: "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\nx", told: "HTTP/1.1 408 ", stat: "http.plain.downstream_rq_idle_timeout"},
		{name: "says nothing", hcm: ", common_http_protocol_options: {idle_timeout: 1s}", stat: "http.plain.downstream_cx_idle_timeout"},
		{name: "half of an HTTP/2 preface", hcm: ", request_headers_timeout: 1s", say: "PRI * HTTP/2.0\r\n", stat: "http.plain.downstream_rq_header_timeout"},
		{name: "stays after its answer", hcm: ", common_http_protocol_options: {idle_timeout: 5s}", say: "GET / HTTP/1.1\r\nhost: x\r\n\r\n", told: "HTTP/1.1 200 ", stat: "http.plain.downstream_cx_idle_timeout"},
		{name: "handshake that is not begun", secure: true},
		{name: "handshake that stops", secure: true, say: clientHello()[:100]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, setup{hcm: c.hcm, chain: ", transport_socket_connect_timeout: 1s"})
			p.answers()
			files := p.descriptors()
			addr, n := p.plain, many()
			if c.secure {
				addr = p.secure
			}
			conns := attack(t, addr, n, func(_ int, nc net.Conn) error {
				_, err := io.WriteString(nc, c.say)
				return err
			})
			stop := drip(conns, c.drip)
			p.answers()
			if told := thrownOut(t, conns); !strings.HasPrefix(told, c.told) {
				t.Errorf("they were told %q, want %s", told, c.told)
			}
			stop()
			if c.stat != "" {
				p.until("all are counted", func() bool { return p.stat(c.stat) >= n })
			}
			p.until("descriptors come back", func() bool { return p.descriptors() < files+20 })
			p.answers()
		})
	}
}

// drip writes to all of them, now and then, until the returned function is called.
func drip(conns []net.Conn, what string) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for what != "" {
			select {
			case <-tick.C:
			case <-over:
				return
			}
			for _, nc := range conns {
				_, _ = io.WriteString(nc, what)
			}
		}
	}()
	return func() {
		close(over)
		<-done
	}
}

// clientHello is the first message of a TLS client.
func clientHello() string {
	a, b := net.Pipe()
	defer a.Close()
	go func() { _ = tls.Client(b, &tls.Config{ServerName: "test"}).Handshake() }()
	buf := make([]byte, 4096)
	n, _ := a.Read(buf)
	return string(buf[:n])
}

// TestSlowReaders: clients that ask for much and read nothing hold what fits into
// bounded buffers, and no one up.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	up := serve(t, func(nc net.Conn) {
		if _, err := nc.Read(make([]byte, 4096)); err != nil {
			return
		}
		fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", 1<<30)
		piece := make([]byte, 64<<10)
		for {
			if _, err := nc.Write(piece); err != nil {
				return
			}
		}
	})
	p := start(t, setup{
		hcm:      ", stream_idle_timeout: 4s",
		routes:   "{match: {prefix: /much}, route: {cluster: much, timeout: 0s}},",
		clusters: "  - {name: much, type: STATIC, " + endpoint("much", up) + "}\n",
	})
	p.answers()
	before := p.memory()
	n := many() / 5
	conns := attack(t, p.plain, n, func(_ int, nc net.Conn) error {
		_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, err := io.WriteString(nc, "GET /much HTTP/1.1\r\nhost: x\r\n\r\n")
		return err
	})
	p.until("all are being answered", func() bool { return p.stat("cluster.much.upstream_rq_total") >= n })
	p.answers()
	if each := (p.memory() - before) / n; each > 1<<20 {
		t.Errorf("a client that reads nothing holds %d KiB", each>>10)
	}
	p.until("they are thrown out", func() bool { return p.stat("http.plain.downstream_rq_idle_timeout") >= n })
	p.answers()
	for _, nc := range conns {
		nc.Close()
	}
	p.until("memory comes back", func() bool { return p.memory() < before+8<<20 })
}

// serve is an upstream that does with each connection what it is told.
func serve(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				do(nc)
			}()
		}
	}()
	return l.Addr().String()
}
