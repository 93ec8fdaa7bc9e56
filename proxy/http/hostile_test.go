package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/transport"
)

// stuck writes to nc, whose reader it is not, until that takes nothing for a
// while, and returns how much it took: at most of it.
func stuck(t *testing.T, nc net.Conn, piece []byte, most int) (n int) {
	t.Helper()
	for n < most {
		_ = nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		m, err := nc.Write(piece)
		n += m
		if err != nil {
			return n
		}
	}
	return n
}

// TestUnreadAnswers: an HTTP/1 client that asks on and on without reading is not read
// any more; what waits for it is bounded.
func TestUnreadAnswers(t *testing.T) {
	const most = 24 << 20 // far above all kernel buffers and water marks
	answer := route.Route{Match: route.Match{Path: "/"}, Direct: &route.Direct{Status: 204}}
	k := start(t, routes(answer), func(c *ManagerConfig) { c.AccessLogs = nil })
	nc, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	n := stuck(t, nc, []byte(strings.Repeat("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 200)), most)
	if n >= most {
		t.Fatalf("the proxy took %d MiB from a client that reads nothing", n>>20)
	}
	// It goes on where it was when the client reads again.
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	if got, err := io.CopyN(io.Discard, nc, int64(n)/2); err != nil {
		t.Errorf("of %d answered %d bytes: %v", n, got, err)
	}
}

// TestUnreadFrames: an HTTP/2 client that makes the proxy write frame after frame and reads
// none loses its connection, as in Envoy.
func TestUnreadFrames(t *testing.T) {
	const most = 64 << 20 // far above what makes the answers fill the kernel's buffers, and ours
	answer := route.Route{Match: route.Match{Path: "/"}, Direct: &route.Direct{Status: 204}}
	for name, more := range map[string]func(fr *http2.Framer, id *uint32){
		"pings":    func(fr *http2.Framer, _ *uint32) { _ = fr.WritePing(false, [8]byte{1}) },
		"requests": func(fr *http2.Framer, id *uint32) { writeGet(fr, id, "/") },
	} {
		t.Run(name, func(t *testing.T) {
			k := start(t, routes(answer), func(c *ManagerConfig) { c.AccessLogs = nil })
			k.narrow.Store(true)
			nc, err := dialNarrow(t.Context(), "tcp", k.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_, _ = io.WriteString(nc, http2.ClientPreface)
			_ = http2.NewFramer(nc, nil).WriteSettings()
			_ = nc.SetDeadline(time.Now().Add(3 * time.Minute)) // or the proxy reads no more
			id, n := uint32(1), 0
			for err == nil && n < most {
				var b bytes.Buffer
				fr := http2.NewFramer(&b, nil)
				for range 500 {
					more(fr, &id)
				}
				var m int
				m, err = nc.Write(b.Bytes())
				n += m
			}
			var late net.Error
			if err == nil || errors.As(err, &late) && late.Timeout() {
				t.Errorf("the proxy took %d MiB from a client that reads nothing: %v", n>>20, err)
			}
			until(t, "the connection has gone", func() bool { return k.stat("downstream_cx_active") == 0 })
		})
	}
}

// writeGet writes a request, and counts id on to that of the next.
func writeGet(fr *http2.Framer, id *uint32, path string) {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", path}} {
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: *id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	*id += 2
}

// TestPipelinedOverHTTP2: the next request of a client is taken at the end of
// the event that ended the one before, on the upstream connection's thread; it
// must still be sent.
func TestPipelinedOverHTTP2(t *testing.T) {
	up := upstreamSpec("up", backend(t, echo))
	up.Protocol = cluster.HTTP2
	k := start(t, routes(to("up")), nil, up)
	nc, r := dial(t, k.addr, strings.Repeat("GET /1 HTTP/1.1\r\nhost: x\r\n\r\n", 100))
	_ = nc.SetReadDeadline(time.Now().Add(time.Minute))
	for i := range 100 {
		res, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("response %d: %v", i, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
	}
}

// gated is a handshake that takes until it is closed.
type gated chan struct{}

func (g gated) Handshake(ctx context.Context, nc net.Conn, _ transport.ClientHello) (net.Conn, error) {
	select {
	case <-g:
		return nc, nil
	case <-ctx.Done():
		nc.Close()
		return nil, ctx.Err()
	}
}

// TestSlowBeforeUpstream: a client that is slow already when its request gets
// an upstream connection stops that one too. So does one that is slow when it asks: its
// request is read all the same.
func TestSlowBeforeUpstream(t *testing.T) {
	for _, later := range []bool{false, true} {
		written := make(chan int, 1)
		gate := make(chan struct{})
		first := rude(t, func(nc net.Conn) {
			fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", 1<<30)
			stuckOn(nc, 64<<20)
			close(gate)
			_, _ = io.Copy(io.Discard, nc)
		})
		second := rude(t, func(nc net.Conn) {
			fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", 1<<30)
			written <- stuckOn(nc, 64<<20)
			_, _ = io.Copy(io.Discard, nc)
		})
		one, two := to("one"), to("two")
		one.Match.Path = "/one"
		late := upstreamSpec("two", second)
		late.TLS = gated(gate)
		k := start(t, routes(one, two), nil, upstreamSpec("one", first), late)
		nc, err := net.Dial("tcp", k.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, http2.ClientPreface)
		fr, id := http2.NewFramer(nc, nil), uint32(1)
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		_ = fr.WriteWindowUpdate(0, 1<<31-1-65535)
		writeGet(fr, &id, "/one")
		if later {
			<-gate
		}
		writeGet(fr, &id, "/two")
		select {
		case n := <-written:
			if n >= 64<<20 {
				t.Errorf("later %v: the second upstream could write %d MiB to a client that reads nothing", later, n>>20)
			}
		case <-time.After(60 * time.Second):
			t.Errorf("later %v: the second request has no upstream", later)
		}
	}
}

// stuckOn writes until the other side takes nothing for a while.
func stuckOn(nc net.Conn, most int) (n int) {
	piece := make([]byte, stream.LowWater)
	for n < most {
		_ = nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		m, err := nc.Write(piece)
		n += m
		if err != nil {
			break
		}
	}
	return n
}

// TestNoneHealthyIsCountedOnce: the load balancer counts it, nobody else.
func TestNoneHealthyIsCountedOnce(t *testing.T) {
	k := start(t, routes(to("up")), nil, upstreamSpec("up"))
	if status, _, _ := get(t, client(t), request(t, "GET", k.url("/"), nil)); status != 503 {
		t.Errorf("status %d, want 503", status)
	}
	if n := k.clusters.Get("up").Stats().UpstreamCxNoneHealthy.Load(); n != 1 {
		t.Errorf("upstream_cx_none_healthy is %d, want 1", n)
	}
}

// TestTrailersOfHTTP1Upstreams: they are dropped unless the cluster wants them, as in Envoy.
func TestTrailersOfHTTP1Upstreams(t *testing.T) {
	up := backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("trailer", "x-back")
		w.Header().Set("x-seen", r.Trailer.Get("x-there"))
		_, _ = io.WriteString(w, "body")
		w.Header().Set("x-back", "b")
	})
	for _, on := range []bool{false, true} {
		spec := upstreamSpec("up", up)
		spec.HTTP.Trailers = on
		k := start(t, routes(to("up")), nil, spec)
		req := request(t, "POST", k.url("/"), io.MultiReader(strings.NewReader("x"))) // of unknown length
		req.Trailer = nethttp.Header{"X-There": {"a"}}
		res, err := client2(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		there, back := res.Header.Get("x-seen") != "", res.Trailer.Get("x-back") != ""
		if there != on || back != on {
			t.Errorf("enable_trailers %v: trailers went there %v, came back %v", on, there, back)
		}
	}
}
