//go:build !race

package http

import (
	"bufio"
	"bytes"
	"net"
	"runtime"
	"strconv"
	"testing"
)

// fixed is a server that answers every request with the same bytes, and allocates nothing.
func fixed(t testing.TB, response string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go serveFixed(nc, []byte(response))
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func serveFixed(nc net.Conn, response []byte) {
	defer nc.Close()
	b := make([]byte, 4096)
	n := 0
	for {
		m, err := nc.Read(b[n:])
		if err != nil {
			return
		}
		n += m
		if bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) {
			n = 0
			if _, err := nc.Write(response); err != nil {
				return
			}
		}
	}
}

// asker sends the same request again and again over one connection and
// allocates nothing.
type asker struct {
	nc   net.Conn
	r    *bufio.Reader
	req  []byte
	body int
}

func newAsker(t testing.TB, addr, req string, body int) *asker {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &asker{nc, bufio.NewReaderSize(nc, 16<<10), []byte(req), body}
}

func (a *asker) ask() error {
	if _, err := a.nc.Write(a.req); err != nil {
		return err
	}
	for {
		line, err := a.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
	}
	_, err := a.r.Discard(a.body)
	return err
}

const browser = "GET /products/42?lang=en HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
	"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n"

func answer(n int) string {
	return "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: " + strconv.Itoa(n) + "\r\n\r\n" + string(bytes.Repeat([]byte("x"), n))
}

// quiet is a logger that does nothing.
func quiet(c *ManagerConfig) { c.AccessLogs = nil }

// TestNoAllocations: an HTTP/1 request costs no memory in the steady state.
func TestNoAllocations(t *testing.T) {
	up := fixed(t, answer(1024))
	for _, tt := range []struct {
		name   string
		change func(*ManagerConfig)
	}{
		{"sidecar", quiet},
		{"edge", func(c *ManagerConfig) {
			quiet(c)
			c.UseRemoteAddress, c.NormalizePath, c.MergeSlashes = true, true, true
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := start(t, routes(to("up")), tt.change, upstreamSpec("up", up))
			a := newAsker(t, k.addr, browser, 1024)
			run := func() {
				if err := a.ask(); err != nil {
					t.Fatal(err)
				}
			}
			for range 200 {
				run()
			}
			runtime.GC()
			if n := testing.AllocsPerRun(2000, run); n > 0 {
				t.Errorf("%v allocations per request, want 0", n)
			}
		})
	}
}

// BenchmarkHTTP1 is one request at a time over one connection.
func BenchmarkHTTP1(b *testing.B) {
	up := fixed(b, answer(1024))
	k := start(b, routes(to("up")), quiet, upstreamSpec("up", up))
	a := newAsker(b, k.addr, browser, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if err := a.ask(); err != nil {
			b.Fatal(err)
		}
	}
}
