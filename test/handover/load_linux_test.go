package handover

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// load is clients of all kinds. Each exchange carries bytes of its own and wants
// just them back.
type load struct {
	t      *testing.T
	http   string // host:port of HTTP in plain text
	secure string // of HTTP with mTLS
	tcp    string // of TCP with mTLS
	tls    *tls.Config

	tickets chan struct{} // one for each exchange, at a steady rate
	over    chan struct{}
	wg      sync.WaitGroup

	id        atomic.Uint64
	requests  atomic.Uint64 // HTTP requests, gRPC streams and upgrades
	exchanges atomic.Uint64 // requests, messages, chunks that were answered
	tcpBytes  atomic.Uint64 // sent over TCP
	tcpBack   atomic.Uint64
	closes    atomic.Uint64 // responses with Connection: close
	failed    atomic.Uint64
}

func (l *load) start(rate int) {
	l.tickets, l.over = make(chan struct{}), make(chan struct{})
	l.wg.Go(func() { l.pace(float64(rate)) })
	plain := func() (net.Conn, error) { return net.Dial("tcp", l.http) }
	resumes := l.tls.Clone()
	resumes.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	for i := range 4 {
		l.wg.Go(func() { l.http1(plain, l.next) })
		l.wg.Go(func() { l.http1(func() (net.Conn, error) { return tls.Dial("tcp", l.secure, l.tls) }, l.next) })
		l.wg.Go(func() { l.http1(plain, l.seldom) })
		if i%2 == 0 {
			l.wg.Go(func() { l.shortTCP(l.tls) })
		} else {
			l.wg.Go(func() { l.shortTCP(resumes) })
		}
	}
	for range 2 {
		l.wg.Go(l.longTCP)
		l.wg.Go(l.webSocket)
		l.wg.Go(l.http2)
		l.wg.Go(l.grpc)
	}
}

// pace makes so many tickets per second. When clients are slower, or this goroutine was
// kept from running, what is due is made up for, as far as it is not more than a second's.
func (l *load) pace(rate float64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last, due := time.Now(), 0.0
	for {
		select {
		case <-tick.C:
		case <-l.over:
			return
		}
		now := time.Now()
		due = min(due+rate*now.Sub(last).Seconds(), max(rate, 1))
		for last = now; due >= 1; due-- {
			select {
			case l.tickets <- struct{}{}:
			case <-l.over:
				return
			}
		}
	}
}

// next waits for a ticket; false: it is over.
func (l *load) next() bool {
	select {
	case <-l.tickets:
		return true
	case <-l.over:
		return false
	}
}

// seldom leaves connections idle most of the time.
func (l *load) seldom() bool {
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.over:
		return false
	}
}

func (l *load) stop() {
	close(l.over)
	l.wg.Wait()
}

func (l *load) fail(what string, err error) {
	if l.failed.Add(1) <= 20 {
		l.t.Errorf("%s: %v", what, err)
	}
}

// payload is bytes that no other exchange has: 16 to 1024.
func (l *load) payload() []byte {
	id := l.id.Add(1)
	b := make([]byte, 0, 16*(id%64+1))
	for len(b) < cap(b) {
		b = strconv.AppendUint(b, 1e15+id, 10)
	}
	return b
}

func (l *load) http1(dial func() (net.Conn, error), next func() bool) {
	var c net.Conn
	var r *bufio.Reader
	for next() {
		if c == nil {
			var err error
			if c, err = dial(); err != nil {
				l.fail("http1: dial", err)
				c = nil
				continue
			}
			r = bufio.NewReader(c)
		}
		l.requests.Add(1)
		closing, err := l.http1Once(c, r)
		if err != nil {
			l.fail("http1", err)
		} else {
			l.exchanges.Add(1)
		}
		if closing || err != nil {
			c.Close()
			c = nil
		}
	}
	if c != nil {
		c.Close()
	}
}

func (l *load) http1Once(c net.Conn, r *bufio.Reader) (closing bool, err error) {
	want := l.payload()
	b := append(make([]byte, 0, 80+len(want)), "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: "...)
	b = append(strconv.AppendInt(b, int64(len(want)), 10), "\r\n\r\n"...)
	if _, err := c.Write(append(b, want...)); err != nil {
		return true, err
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return true, err
	}
	got, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != 200 || !bytes.Equal(got, want)) {
		err = fmt.Errorf("status %d, %d bytes, want %d", res.StatusCode, len(got), len(want))
	}
	if res.Close {
		l.closes.Add(1)
	}
	return res.Close, err
}

func (l *load) http2() {
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for l.next() {
				want := l.payload()
				l.requests.Add(1)
				req, _ := http.NewRequest(http.MethodPost, "http://"+l.http+"/echo", bytes.NewReader(want))
				res, err := tr.RoundTrip(req)
				if err != nil {
					l.fail("http2", err)
					continue
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != 200 || !bytes.Equal(got, want) {
					l.fail("http2", fmt.Errorf("status %d, %d bytes, want %d: %w", res.StatusCode, len(got), len(want), err))
					continue
				}
				l.exchanges.Add(1)
			}
		})
	}
	wg.Wait()
}

// grpc has one stream that lasts, and many that do not.
func (l *load) grpc() {
	cc, err := grpc.NewClient("passthrough:///"+l.http, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		l.fail("grpc", err)
		return
	}
	defer cc.Close()
	var wg sync.WaitGroup
	for _, messages := range []int{1 << 30, 5} {
		wg.Go(func() {
			for l.next() {
				if err := l.stream(cc, messages); err != nil {
					l.fail(fmt.Sprintf("grpc stream of %d", messages), err)
				}
			}
		})
	}
	wg.Wait()
}

func (l *load) stream(cc *grpc.ClientConn, messages int) error {
	l.requests.Add(1)
	st, err := cc.NewStream(l.t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Echo/Stream")
	if err != nil {
		return err
	}
	for n := 0; n < messages && l.next(); n++ {
		want := l.payload()
		if err := st.SendMsg(&want); err != nil {
			return fmt.Errorf("send: %w", st.RecvMsg(&want))
		}
		var got []byte
		if err := st.RecvMsg(&got); err != nil {
			return fmt.Errorf("message %d: %w", n, err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("message %d: %d bytes, want %d", n, len(got), len(want))
		}
		l.exchanges.Add(1)
	}
	if err := st.CloseSend(); err != nil {
		return err
	}
	var rest []byte
	if err := st.RecvMsg(&rest); err != io.EOF {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}

// webSocket upgrades once and stays.
func (l *load) webSocket() {
	c, err := net.Dial("tcp", l.http)
	if err != nil {
		l.fail("websocket", err)
		return
	}
	defer c.Close()
	l.requests.Add(1)
	r := bufio.NewReader(c)
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		l.fail("websocket", fmt.Errorf("%v %w", res, err))
		return
	}
	for l.next() {
		if err := l.echo(c, r); err != nil {
			l.fail("websocket", err)
			return
		}
	}
}

// echo is one exchange on a connection that gives back what it gets.
func (l *load) echo(w io.Writer, r io.Reader) error {
	want := l.payload()
	if _, err := w.Write(want); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %.40q, want %.40q", got, want)
	}
	l.exchanges.Add(1)
	return nil
}

// counting counts what goes over a TCP connection.
type counting struct {
	*tls.Conn
	l *load
}

func (c counting) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.l.tcpBytes.Add(uint64(n))
	return n, err
}

func (c counting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.l.tcpBack.Add(uint64(n))
	return n, err
}

func (l *load) longTCP() {
	for l.next() {
		if err := l.tcpOnce(1<<30, l.tls); err != nil {
			l.fail("tcp", err)
		}
	}
}

func (l *load) shortTCP(cfg *tls.Config) {
	for l.next() {
		if err := l.tcpOnce(3, cfg); err != nil {
			l.fail("short tcp", err)
		}
	}
}

// tcpOnce is one connection, ended in order from here.
func (l *load) tcpOnce(chunks int, cfg *tls.Config) error {
	c, err := tls.Dial("tcp", l.tcp, cfg)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer c.Close()
	cc := counting{c, l}
	for n := 0; n < chunks && l.next(); n++ {
		if err := l.echo(cc, cc); err != nil {
			return err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	rest, err := io.ReadAll(cc)
	if err != nil || len(rest) > 0 {
		return fmt.Errorf("end: %d bytes too many: %w", len(rest), err)
	}
	return nil
}

// raw passes gRPC messages through as bytes.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = bytes.Clone(b); return nil }
func (raw) Name() string                    { return "raw" }
func reset(err error) bool {
	return err != nil && err != io.EOF && !strings.Contains(err.Error(), "use of closed")
}
