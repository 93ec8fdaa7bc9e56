package abuse

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames makes the bytes of HTTP/2 frames.
func frames(write func(*http2.Framer)) []byte {
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	fr.AllowIllegalWrites = true
	write(fr)
	return b.Bytes()
}

// block is a header block; each name: value.
func block(fields ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range fields {
		i := strings.Index(f[1:], ": ") + 1
		_ = enc.WriteField(hpack.HeaderField{Name: f[:i], Value: f[i+2:]})
	}
	return b.Bytes()
}

var get = block(":method: GET", ":scheme: http", ":authority: x", ":path: /")

// begin is what a client says first.
func begin(more func(*http2.Framer)) []byte {
	return append([]byte(http2.ClientPreface), frames(func(fr *http2.Framer) {
		_ = fr.WriteSettings()
		more(fr)
	})...)
}

func times(n int, b []byte) []byte { return bytes.Repeat(b, n) }

// push writes first, and then more, until the other side ends the connection or takes
// nothing for a while, or most bytes are written. It reads nothing.
func push(nc net.Conn, first, more []byte, most int) {
	_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Write(first); err != nil {
		return
	}
	for n := 0; n < most && len(more) > 0; n += len(more) {
		_ = nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := nc.Write(more); err != nil {
			return
		}
	}
}

// streams is n requests, each followed by what then makes of its stream.
func streams(n int, end bool, then func(fr *http2.Framer, id uint32)) func(*http2.Framer) {
	return func(fr *http2.Framer) {
		for i := range n {
			id := uint32(2*i + 1)
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: get, EndHeaders: true, EndStream: end})
			if then != nil {
				then(fr, id)
			}
		}
	}
}

// TestHostileClients: floods cost the attacker its connection or its turn, and others nothing.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	p := start(t, setup{hcm: ", stream_idle_timeout: 60s, common_http_protocol_options: {idle_timeout: 60s}"})
	p.answers()
	none := func(*http2.Framer) {}
	attackers, most := 10, 32<<20
	if soak {
		attackers = 100
	}
	for _, c := range []struct {
		name        string
		first, more []byte
	}{
		{"PING", begin(none), frames(func(fr *http2.Framer) {
			for range 2000 {
				_ = fr.WritePing(false, [8]byte{1})
			}
		})},
		{"SETTINGS", begin(none), frames(func(fr *http2.Framer) {
			for i := range 1000 {
				_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(i)})
			}
		})},
		{"SETTINGS over a thousand open streams", begin(streams(1000, false, nil)), frames(func(fr *http2.Framer) {
			for i := range 1000 {
				_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
			}
		})},
		{"rapid reset", begin(streams(20000, true, func(fr *http2.Framer, id uint32) { _ = fr.WriteRSTStream(id, http2.ErrCodeCancel) })), nil},
		{"no window", append([]byte(http2.ClientPreface), frames(func(fr *http2.Framer) {
			_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			streams(1000, true, nil)(fr)
		})...), nil},
		{"windows byte by byte", append([]byte(http2.ClientPreface), frames(func(fr *http2.Framer) {
			_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			streams(1000, true, nil)(fr)
		})...), frames(func(fr *http2.Framer) {
			for i := range 1000 {
				_ = fr.WriteWindowUpdate(uint32(2*i+1), 1)
			}
		})},
		{"window overflow", begin(func(fr *http2.Framer) { _ = fr.WriteWindowUpdate(0, 1<<31-1) }), nil},
		{"initial window overflow", begin(func(fr *http2.Framer) {
			streams(10, true, func(fr *http2.Framer, id uint32) { _ = fr.WriteWindowUpdate(id, 1<<31-1-65535) })(fr)
			_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		}), nil},
		{"empty DATA", begin(streams(1, false, nil)), frames(func(fr *http2.Framer) {
			for range 1000 {
				_ = fr.WriteData(1, false, nil)
			}
		})},
		{"PRIORITY", begin(none), frames(func(fr *http2.Framer) {
			for range 1000 {
				_ = fr.WritePriority(1, http2.PriorityParam{Weight: 1})
			}
		})},
		{"endless CONTINUATION", begin(func(fr *http2.Framer) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: get})
		}), frames(func(fr *http2.Framer) {
			for range 100 {
				_ = fr.WriteContinuation(1, false, block("a: "+strings.Repeat("x", 1000)))
			}
		})},
		{"a header of an HPACK bomb", begin(func(fr *http2.Framer) {
			big := block(":method: GET", ":scheme: http", ":authority: x", ":path: /")
			big = append(big, 0x40, 1, 'a', 0x7f, 0xa1, 0x1e) // literal with indexing, 4000 bytes
			big = append(big, bytes.Repeat([]byte{'x'}, 4000)...)
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: append(big, times(8000, []byte{0xbe})...)})
		}), nil},
		{"a huge HTTP/1 head", []byte("GET / HTTP/1.1\r\nhost: x\r\na: "), times(1<<16, []byte("x"))},
		{"fields without end", []byte("GET / HTTP/1.1\r\nhost: x\r\n"), times(1<<12, []byte("a: b\r\n"))},
		{"a chunk extension without end", []byte("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;"), times(1<<16, []byte("x"))},
		{"trailers without end", []byte("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"), times(1<<12, []byte("a: b\r\n"))},
		{"pipelining without reading", nil, times(1000, []byte("GET / HTTP/1.1\r\nhost: x\r\n\r\n"))},
	} {
		before, files := p.memory(), p.descriptors()
		conns := attack(t, p.plain, attackers, func(_ int, nc net.Conn) error {
			_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
			push(nc, c.first, c.more, most)
			return nil
		})
		p.answers()
		held := p.memory() - before
		t.Logf("%s: %d KiB an attacker", c.name, held/attackers>>10)
		if each := held / attackers; each > 8<<20 {
			t.Errorf("%s: an attacker makes the proxy hold %d KiB", c.name, each>>10)
		}
		for _, nc := range conns {
			reset(nc)
		}
		p.until(c.name+": the connections go", func() bool { return p.descriptors() < files+20 })
		p.answers()
	}
}

// reset closes with a reset.
func reset(nc net.Conn) {
	_ = nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// TestResetFlood: clients that come, ask and vanish with a reset.
func TestResetFlood(t *testing.T) {
	t.Parallel()
	p := start(t, setup{})
	p.answers()
	before, files := p.memory(), p.descriptors()
	for i, say := range []string{"", "GET", "GET / HTTP/1.1\r\nhost: x\r\n\r\n", string(begin(streams(50, true, nil))), clientHello(), clientHello()[:50]} {
		addr := p.plain
		if i > 3 {
			addr = p.secure
		}
		each(t, 4*many(), func(int) error {
			nc, err := net.DialTimeout("tcp", addr, patience)
			if err != nil {
				return err
			}
			_, _ = io.WriteString(nc, say)
			reset(nc)
			return nil
		})
		p.answers()
	}
	p.until("descriptors come back", func() bool { return p.descriptors() < files+20 })
	p.until("memory comes back", func() bool { return p.memory() < before+16<<20 })
	p.until("no connection is left", func() bool { return p.stat("http.plain.downstream_cx_active") == 0 })
}

// TestHostileUpstreams: an HTTP/2 upstream that floods costs its own requests, and
// bounded memory.
func TestHostileUpstreams(t *testing.T) {
	t.Parallel()
	const h2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`
	settings := frames(func(fr *http2.Framer) { _ = fr.WriteSettings() })
	head := func(fr *http2.Framer, end bool, fields ...string) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, EndStream: end, BlockFragment: block(fields...)})
	}
	cases := []struct{ name, more string }{
		{"PING", string(frames(func(fr *http2.Framer) {
			for range 2000 {
				_ = fr.WritePing(false, [8]byte{1})
			}
		}))},
		{"SETTINGS", string(frames(func(fr *http2.Framer) {
			for range 2000 {
				_ = fr.WriteSettings()
			}
		}))},
		{"interim responses", string(frames(func(fr *http2.Framer) {
			for range 500 {
				head(fr, false, ":status: 103", "link: x")
			}
		}))},
		{"endless CONTINUATION", string(frames(func(fr *http2.Framer) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(":status: 200")})
			for range 1000 {
				_ = fr.WriteContinuation(1, false, block("a: "+strings.Repeat("x", 1000)))
			}
		}))},
		{"empty DATA", string(frames(func(fr *http2.Framer) {
			head(fr, false, ":status: 200")
			for range 1000 {
				_ = fr.WriteData(1, false, nil)
			}
		}))},
		{"DATA over the window", string(frames(func(fr *http2.Framer) {
			head(fr, false, ":status: 200")
			for range 1000 {
				_ = fr.WriteData(1, false, make([]byte, 16384))
			}
		}))},
		{"window overflow", string(frames(func(fr *http2.Framer) { _ = fr.WriteWindowUpdate(0, 1<<31-1) }))},
		{"PUSH_PROMISE", string(frames(func(fr *http2.Framer) {
			_ = fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: get, EndHeaders: true})
		}))},
		{"RST_STREAM of streams that never were", string(frames(func(fr *http2.Framer) {
			for i := range 1000 {
				_ = fr.WriteRSTStream(uint32(2*i+101), http2.ErrCodeCancel)
			}
		}))},
	}
	var routes, clusters strings.Builder
	for i, c := range cases {
		addr := serve(t, func(nc net.Conn) {
			if _, err := io.ReadFull(nc, make([]byte, len(http2.ClientPreface)+9)); err != nil {
				return
			}
			_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
			if _, err := io.ReadFull(nc, make([]byte, 60)); err != nil { // the request has begun
				return
			}
			push(nc, settings, []byte(c.more), 64<<20)
			_, _ = io.Copy(io.Discard, nc)
		})
		fmt.Fprintf(&routes, "{match: {prefix: /%d/}, route: {cluster: c%d, timeout: 10s}},", i, i)
		fmt.Fprintf(&clusters, "  - {name: c%d, type: STATIC, %s, %s}\n", i, h2, endpoint(fmt.Sprintf("c%d", i), addr))
	}
	p := start(t, setup{routes: routes.String(), clusters: clusters.String()})
	p.answers()
	for i, c := range cases {
		before := p.memory()
		status, err := p.ask(p.plain, fmt.Sprintf("/%d/", i))
		held := p.memory() - before
		t.Logf("%s: %d %v, %d KiB", c.name, status, err, held>>10)
		if held > 16<<20 {
			t.Errorf("%s: the proxy held %d MiB", c.name, held>>20)
		}
		if err == nil && status == 0 {
			t.Errorf("%s: no answer", c.name)
		}
		p.answers()
	}
}
