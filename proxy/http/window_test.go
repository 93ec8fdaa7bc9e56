package http

import (
	"bytes"
	"io"
	"net"
	nethttp "net/http"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/proxy/cluster"
)

// count is an endless body of 0, 1, 2 … 250, 0, 1 …, which counts what was taken.
type count struct{ n *atomic.Int64 }

func (c count) Read(p []byte) (int, error) {
	at := c.n.Load()
	for i := range p {
		p[i] = byte((at + int64(i)) % 251)
	}
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// meter is the receiving end of a body: it has as much window open as it likes.
type meter struct {
	*http2.Framer
	got int64
}

// read takes frames until n bytes of the body have come in all.
func (m *meter) read(t *testing.T, n int64) {
	t.Helper()
	for m.got < n {
		f, err := m.ReadFrame()
		if err != nil {
			t.Fatalf("after %d bytes: %v", m.got, err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = m.WriteSettingsAck()
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			t.Fatalf("after %d bytes: %v", m.got, f)
		case *http2.DataFrame:
			for i, c := range f.Data() {
				if want := byte((m.got + int64(i)) % 251); c != want {
					t.Fatalf("byte %d is %d, want %d", m.got+int64(i), c, want)
				}
			}
			m.got += int64(len(f.Data()))
		}
	}
}

// drip opens the window by 4 KiB at a time, as Go's programs do, and checks that never more
// than most is in the proxy, which has taken that many bytes.
func (m *meter) drip(t *testing.T, most int64, sent *atomic.Int64, taken func() uint64) {
	t.Helper()
	const window, step = 1<<16 - 1, 4 << 10
	m.read(t, window)
	settled(sent)
	if n := int64(taken()) - m.got; n > most || n < 512<<10 {
		t.Fatalf("%d KiB are in the proxy", n>>10)
	}
	for open := int64(window); open < 8<<20; {
		open += step
		_ = m.WriteWindowUpdate(1, step)
		_ = m.WriteWindowUpdate(0, step)
		m.read(t, open)
		if n := int64(taken()) - m.got; n > most {
			t.Fatalf("%d KiB are in the proxy after %d KiB", n>>10, m.got>>10)
		}
	}
	// All at once: what has waited goes out in large frames.
	_ = m.WriteWindowUpdate(1, 16<<20)
	_ = m.WriteWindowUpdate(0, 16<<20)
	m.read(t, 24<<20)
}

// hop is the window of one hop, and what may wait for the next hop's before the sender is held up;
// a request may have come as far as the router's buffer before there was a connection.
const hop = 1<<20 + 192<<10

// TestNarrowWindow: a peer that opens its HTTP/2 window little by little gets every byte, and
// the proxy holds no more than its own window.
func TestNarrowWindow(t *testing.T) {
	t.Run("response", func(t *testing.T) {
		var sent atomic.Int64
		s := upstreamSpec("up", backend(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = io.Copy(w, count{&sent}) }))
		s.Protocol = cluster.HTTP2
		k := start(t, routes(to("up")), nil, s)
		nc, r := dial(t, k.addr, http2.ClientPreface)
		m := &meter{Framer: http2.NewFramer(nc, r)}
		_ = m.WriteSettings()
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", "/"}} {
			_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		_ = m.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
		m.drip(t, hop, &sent, k.clusters.Get("up").Stats().UpstreamCxRxBytesTotal.Load)
		_ = m.WriteRSTStream(1, http2.ErrCodeCancel)
		k.log.next(t)
		balanced(t, k)
	})
	t.Run("request", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		s := upstreamSpec("up", ln.Addr().String())
		s.Protocol = cluster.HTTP2
		k := start(t, routes(to("up")), nil, s)
		var sent atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			res, err := client2(t).Do(request(t, "POST", k.url("/"), count{&sent}))
			if err == nil {
				res.Body.Close()
			}
		}()
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := io.CopyN(io.Discard, nc, int64(len(http2.ClientPreface))); err != nil {
			t.Fatal(err)
		}
		m := &meter{Framer: http2.NewFramer(nc, nc)}
		_ = m.WriteSettings()
		m.drip(t, hop+1<<20, &sent, func() uint64 { return k.stat("downstream_cx_rx_bytes_total") })
		_ = m.WriteRSTStream(1, http2.ErrCodeCancel)
		<-done
		k.log.next(t)
		balanced(t, k)
	})
}
