package abuse

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestIdleConnections: an idle connection holds no buffer, with and without TLS.
func TestIdleConnections(t *testing.T) {
	n := 1000
	if soak {
		n = 9000
	}
	for _, c := range []struct {
		name   string
		secure bool
		most   int // bytes of a connection
	}{
		{"plain", false, 16 << 10},
		{"mutual TLS", true, 45 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := start(t, setup{})
			addr := p.plain
			if c.secure {
				addr = p.secure
			}
			hold(t, p, addr, 20)() // what is made once
			before := p.settled()
			drop := hold(t, p, addr, n)
			var held, each int
			p.until(fmt.Sprintf("an idle connection holds at most %d bytes", c.most), func() bool {
				was := each
				held = p.memory()
				each = (held - before) / n
				if each > c.most && each != was {
					t.Logf("each holds %d bytes", each)
				}
				return each <= c.most
			})
			t.Logf("%d connections: %d KiB before, %d KiB with them, %d bytes each", n, before>>10, held>>10, each)
			p.answers()
			drop()
			p.until("the memory has come back", func() bool { return p.memory() < before+(held-before)/2+4<<20 })
			t.Logf("afterwards: %d KiB", p.memory()>>10)
		})
	}
}

// settled is the memory when it does not fall any more.
func (p *proxy) settled() int {
	least, at := p.memory(), time.Now()
	p.until("memory settles", func() bool {
		if m := p.memory(); m < least-least/50 {
			least, at = m, time.Now()
		}
		return time.Since(at) > 7*time.Second
	})
	return least
}

// hold opens n connections, asks once on each, and leaves them idle. The function that
// it returns closes them, after another request on each.
func hold(t *testing.T, p *proxy, addr string, n int) (drop func()) {
	t.Helper()
	conns := make([]net.Conn, n)
	each(t, n, func(i int) error {
		nc, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return err
		}
		if addr == p.secure {
			nc = tls.Client(nc, p.tls)
		}
		conns[i] = nc
		return exchange(nc)
	})
	return func() {
		t.Helper()
		each(t, n, func(i int) error {
			defer conns[i].Close()
			return exchange(conns[i])
		})
	}
}

// exchange asks on a connection that stays.
func exchange(nc net.Conn) error {
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nhost: x\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		return fmt.Errorf("answered %d %q %w", res.StatusCode, b, err)
	}
	return nil
}

// each does n things, some at a time.
func each(t *testing.T, n int, do func(int) error) {
	t.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				if err := do(i); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
