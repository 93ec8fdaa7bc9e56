package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// request is what HTTP/1 clients send: a host from the middle of the table.
func request() []byte {
	return []byte("GET /api/books?x=1 HTTP/1.1\r\nhost: h25.example.com\r\nuser-agent: bench\r\naccept: */*\r\n\r\n")
}

var lengthField = []byte("content-length: ")

// exchange sends one request and reads the response.
func exchange(c net.Conn, r *bufio.Reader, request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("answered %q", line)
		}
		if len(line) == 2 {
			break
		}
		if n := len(lengthField); len(line) > n && bytes.EqualFold(line[:n], lengthField) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[n:]))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("a response without content-length")
	}
	_, err := r.Discard(length)
	return err
}

// parallel runs f on n goroutines and returns all latencies, or an error.
func parallel(n int, f func(i int) ([]time.Duration, error)) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			times, err := f(i)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	return all, failed
}

// closedLoop keeps conns connections busy with a request.
func closedLoop(conns int, request func() []byte) func(context.Context, string, int) ([]time.Duration, error) {
	return func(_ context.Context, addr string, n int) ([]time.Duration, error) {
		req := request()
		var left atomic.Int64
		left.Store(int64(n))
		return parallel(conns, func(int) ([]time.Duration, error) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			defer c.Close()
			r := bufio.NewReaderSize(c, 16<<10)
			var times []time.Duration
			for left.Add(-1) >= 0 {
				begin := time.Now()
				if err := exchange(c, r, req); err != nil {
					return nil, err
				}
				times = append(times, time.Since(begin))
			}
			return times, nil
		})
	}
}

// openLoop sends at a constant rate; latency counts from when a request was due.
func openLoop(rate int) func(context.Context, string, int) ([]time.Duration, error) {
	const conns = 32
	return func(_ context.Context, addr string, n int) ([]time.Duration, error) {
		begin := time.Now()
		return parallel(conns, func(i int) ([]time.Duration, error) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			defer c.Close()
			r := bufio.NewReaderSize(c, 16<<10)
			var times []time.Duration
			for k := i; k < n; k += conns {
				due := begin.Add(time.Duration(k) * time.Second / time.Duration(rate))
				time.Sleep(time.Until(due))
				if err := exchange(c, r, request()); err != nil {
					return nil, err
				}
				times = append(times, time.Since(due))
			}
			return times, nil
		})
	}
}

// http2Client is one connection to addr, without TLS.
func http2Client(addr string) *http2.Transport {
	return &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}}
}

// http2Exchange sends a request and reads the response. body: a POST of that many bytes.
func http2Exchange(ctx context.Context, c *http2.Transport, body int64) (int64, error) {
	method, from := http.MethodGet, io.Reader(http.NoBody)
	if body > 0 {
		method, from = http.MethodPost, io.LimitReader(zeros{}, body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://h25.example.com/api/books?x=1", from)
	if err != nil {
		return 0, err
	}
	resp, err := c.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return n, err
}

// zeros are a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// http2Loop keeps streams requests under way on each of conns connections.
func http2Loop(conns, streams int) func(context.Context, string, int) ([]time.Duration, error) {
	return func(ctx context.Context, addr string, n int) ([]time.Duration, error) {
		var left atomic.Int64
		left.Store(int64(n))
		clients := make([]*http2.Transport, conns)
		for i := range clients {
			clients[i] = http2Client(addr)
			defer clients[i].CloseIdleConnections()
		}
		return parallel(conns*streams, func(i int) ([]time.Duration, error) {
			var times []time.Duration
			for left.Add(-1) >= 0 {
				begin := time.Now()
				if _, err := http2Exchange(ctx, clients[i%conns], 0); err != nil {
					return nil, err
				}
				times = append(times, time.Since(begin))
			}
			return times, nil
		})
	}
}

// bulkBody is the size of one large body.
const bulkBody = 64 << 20

// http2Bulk moves n megabytes in large bodies, one after the other on one connection: responses,
// or requests.
func http2Bulk(up bool) func(context.Context, string, int) ([]time.Duration, error) {
	return func(ctx context.Context, addr string, n int) ([]time.Duration, error) {
		c := http2Client(addr)
		defer c.CloseIdleConnections()
		for left := int64(n) * 1e6; left > 0; {
			body := int64(0)
			if up {
				body = min(left, bulkBody)
			}
			got, err := http2Exchange(ctx, c, body)
			if err != nil {
				return nil, err
			}
			left -= max(got, body)
		}
		return nil, nil
	}
}

// bulk reads n megabytes over conns connections.
func bulk(conns int) func(context.Context, string, int) ([]time.Duration, error) {
	return func(_ context.Context, addr string, n int) ([]time.Duration, error) {
		return parallel(conns, func(int) ([]time.Duration, error) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				return nil, err
			}
			defer c.Close()
			_, err = io.CopyN(io.Discard, c, int64(n)*1e6/int64(conns))
			return nil, err
		})
	}
}
