package websocket

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/dataplane"
	"github.com/weftmesh/weft/test/freeport"
)

// together is how many cases are in flight on each proxy.
const together = 16

// patience bounds a case. Only a proxy that keeps bytes back meets it.
const patience = 60 * time.Second

// TestCases plays every case through both proxies, with HTTP/1 and HTTP/2 on either
// side: each byte arrives, and what ends on one side ends on the other as with Envoy.
func TestCases(t *testing.T) {
	list := cases()
	names := map[string]bool{}
	for i := range list {
		if names[list[i].name] {
			t.Fatalf("two cases are called %s", list[i].name)
		}
		names[list[i].name] = true
	}
	t.Logf("%d cases", len(list))
	sides := []*side{newSide(t, true), newSide(t, false)}
	for _, down := range []bool{false, true} {
		for _, up := range []bool{false, true} {
			t.Run(version(down)+" to "+version(up), func(t *testing.T) {
				fates := make([][2]string, len(list))
				var g errgroup.Group
				g.SetLimit(together)
				for i := range list {
					for n, s := range sides {
						if d := known(&list[i], down, up); d != nil && d.envoyWaits && n == 0 {
							fates[i][0] = "waits"
							continue
						}
						g.Go(func() error {
							f, err := s.play(&list[i], down, up)
							if err != nil {
								t.Errorf("%s: %s: %v", [...]string{"Envoy", "Weft"}[n], list[i].name, err)
							}
							fates[i][n] = f
							return nil
						})
					}
				}
				_ = g.Wait()
				for i, f := range fates {
					switch d := known(&list[i], down, up); {
					case f[0] != f[1] && d == nil:
						t.Errorf("%s: Envoy: %s; Weft: %s", list[i].name, f[0], f[1])
					case f[0] == f[1] && d != nil:
						t.Errorf("%s: Envoy does as Weft: take it off the differences (%s)", list[i].name, d.reason)
					}
				}
			})
		}
	}
}

// difference is how another end than Envoy's is right.
type difference struct {
	reason     string
	envoyWaits bool // Envoy tells the server nothing: it is not asked
}

// known is the difference that a case is to show; nil: none.
func known(c *wsCase, down, up bool) *difference {
	gone := c.abrupt && !c.reset
	switch {
	case gone && down && !up:
		return &difference{"the end of a client's stream is the server's end of connection (RFC 8441, 5); Envoy waits for the server", true}
	case gone && !down && up:
		return &difference{"the end of a client's connection is the end of its stream (RFC 8441, 5); Envoy resets it", false}
	case down && !up && c.mode != modeReset && !c.abrupt:
		return &difference{"the end of a server's connection is the end of the stream (RFC 8441, 5); Envoy resets it", false}
	}
	return nil
}

func version(two bool) string {
	if two {
		return "h2"
	}
	return "h1"
}

// side is a proxy with servers of its own.
type side struct {
	t       *testing.T
	addr    string
	records records
}

const bootstrap = `
node: {id: websocket, cluster: peers}
admin: {address: {socket_address: %s}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: websocket
          delayed_close_timeout: 0s # else Envoy keeps a connection open a second longer
          upgrade_configs: [{upgrade_type: websocket}]
          http2_protocol_options: {allow_connect: true}
          route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [
            {match: {prefix: /h1}, route: {cluster: h1, timeout: 0s}}, {match: {prefix: /h2}, route: {cluster: h2, timeout: 0s}}]}]}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - {name: h1, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: h1, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}}
  - name: h2
    type: STATIC
    connect_timeout: 5s
    load_assignment: {cluster_name: h2, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {allow_connect: true}}
`

func newSide(t *testing.T, envoy bool) *side {
	t.Helper()
	s := &side{t: t}
	one, two := s.listen(s.serve1), s.listen(s.serve2)
	listen, admin := freeport.Port(t), freeport.Addr(t)
	s.addr = fmt.Sprintf("127.0.0.1:%d", listen)
	text := fmt.Sprintf(bootstrap, dataplane.SocketAddress(admin), listen, one, two)
	if !envoy {
		dataplane.Start(t, text, admin, proxy.Options{DrainTime: time.Second})
		return s
	}
	startEnvoy(t, text)
	dataplane.Ready(t, admin, nil)
	return s
}

func startEnvoy(t *testing.T, bootstrap string) {
	name := os.Getenv("WEFT_ENVOY")
	if name == "" {
		name = "envoy"
	}
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("no Envoy to compare with: set WEFT_ENVOY to the binary of Envoy 1.40: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func (s *side) listen(serve func(net.Conn)) int {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(nc)
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

// h1link is an HTTP/1 connection after its upgrade.
type h1link struct {
	net.Conn
	r *bufio.Reader
}

// Read implements link.
func (l h1link) Read(p []byte) (int, error) { return l.r.Read(p) }

// End implements link.
func (l h1link) End() { l.Close() }

// Reset implements link.
func (l h1link) Reset() {
	_ = l.Conn.(*net.TCPConn).SetLinger(0)
	l.Close()
}

func (s *side) serve1(nc net.Conn) {
	defer nc.Close()
	l := h1link{nc, bufio.NewReader(nc)}
	req, err := http.ReadRequest(l.r)
	if err != nil {
		return
	}
	e := s.accept(req.Header.Get)
	if req.Header.Get("Upgrade") != "websocket" || req.Method != http.MethodGet {
		return
	}
	_, _ = fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: %s\r\nsec-websocket-extensions: %s\r\n\r\n",
		req.Header.Get("Sec-Websocket-Key"), req.Header.Get("Sec-Websocket-Extensions"))
	e.l = l
	e.serve()
}

func (s *side) serve2(nc net.Conn) {
	defer nc.Close()
	c, err := newH2(nc, true)
	if err != nil {
		return
	}
	c.opened = func(st *h2stream) {
		if st.fields[":method"] != http.MethodConnect || st.fields[":protocol"] != "websocket" {
			st.Reset()
			return
		}
		e := s.accept(func(name string) string { return st.fields[name] })
		_ = st.say(":status", "200", "sec-websocket-accept", st.fields["sec-websocket-key"], "sec-websocket-extensions", st.fields["sec-websocket-extensions"])
		e.l = st
		go e.serve()
	}
	c.run()
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// open does the handshake.
func (s *side) open(c *wsCase, name string, down, up bool) (l link, stop func(), err error) {
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, nil, err
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	stop = func() { nc.Close() }
	fields := []string{
		"x-case", name, "x-mode", c.mode, "x-length", strconv.Itoa(len(c.script)),
		"sec-websocket-version", "13", "sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==",
	}
	if c.deflate != "" {
		fields = append(fields, "sec-websocket-extensions", c.deflate)
	}
	path := "/" + version(up) + "/ws"
	var get func(string) string
	if down {
		l, get, err = open2(nc, path, fields)
	} else {
		l, get, err = open1(nc, path, fields)
	}
	if err == nil && (get("sec-websocket-accept") != "dGhlIHNhbXBsZSBub25jZQ==" || get("sec-websocket-extensions") != c.deflate) {
		err = fmt.Errorf("the answer's fields: %q %q", get("sec-websocket-accept"), get("sec-websocket-extensions"))
	}
	return l, stop, err
}

func open1(nc net.Conn, path string, fields []string) (link, func(string) string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n", path)
	for i := 0; i < len(fields); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", fields[i], fields[i+1])
	}
	b.WriteString("\r\n")
	if _, err := nc.Write(b.Bytes()); err != nil {
		return nil, nil, err
	}
	l := h1link{nc, bufio.NewReader(nc)}
	res, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return nil, nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return nil, nil, fmt.Errorf("status %d", res.StatusCode)
	}
	return l, res.Header.Get, nil
}

func open2(nc net.Conn, path string, fields []string) (link, func(string) string, error) {
	c, err := newH2(nc, false)
	if err != nil {
		return nil, nil, err
	}
	st := &h2stream{c: c, id: 1}
	c.streams[1] = st
	go c.run()
	c.change(func() {
		for !c.extend && c.err == nil {
			c.cond.Wait()
		}
		st.room = c.initial
	})
	err = st.say(append([]string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "x", ":path", path}, fields...)...)
	c.change(func() {
		for st.fields == nil && st.end == nil {
			c.cond.Wait()
		}
		if err == nil && st.fields[":status"] != "200" {
			err = fmt.Errorf("status %q, %v", st.fields[":status"], st.end)
		}
	})
	return st, func(name string) string { return st.fields[name] }, err
}

// play plays one case and tells how both sides ended.
func (s *side) play(c *wsCase, down, up bool) (string, error) {
	name := fmt.Sprint(c.name, " ", down, up)
	l, stop, err := s.open(c, name, down, up)
	if stop != nil {
		defer stop()
	}
	if err != nil {
		return "no handshake", err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := range chunks(c.script, c.chop) {
			if _, err := l.Write(p); err != nil {
				return
			}
		}
	})
	rec := s.records.of(name)
	got, ours := receive(l, c)
	wg.Wait()
	select {
	case <-rec.done:
	case <-time.After(patience):
		return "the server waits", fmt.Errorf("client got %d bytes, %s", len(got), ours)
	}
	fates := "client saw " + ours + ", server saw " + rec.fate
	if c.mode == "" && !bytes.Equal(rec.got.Bytes(), c.script) {
		return fates, fmt.Errorf("%d bytes arrived of %d, or others (%s)", rec.got.Len(), len(c.script), fates)
	}
	if !bytes.Equal(got, rec.sent.Bytes()) {
		return fates, fmt.Errorf("%d bytes came back of %d, or others (%s)", len(got), rec.sent.Len(), fates)
	}
	return fates, c.check(got)
}

// chunks are the client's writes.
func chunks(b []byte, size int) func(func([]byte) bool) {
	if size == 0 {
		size = max(len(b), 1)
	}
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// receive reads to the end, or ends when all has come.
func receive(l link, c *wsCase) (got []byte, how string) {
	want := 0
	if c.abrupt {
		for _, m := range c.want {
			want += len(appendFrame(nil, 0, m.payload, false))
		}
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := l.Read(buf)
		got = append(got, buf[:n]...)
		switch {
		case err != nil:
			return got, fate(err)
		case c.abrupt && len(got) == want && c.reset:
			l.Reset()
			return got, "its own reset"
		case c.abrupt && len(got) == want:
			l.End()
			return got, "its own end"
		}
	}
}

// check compares what came with what the case wants.
func (c *wsCase) check(got []byte) error {
	in := deflater{takeover: c.deflate != "" && !bytes.Contains([]byte(c.deflate), []byte("server_no"))}
	r := bytes.NewReader(got)
	for i, m := range c.want {
		f, err := readFrame(r)
		if err != nil {
			return fmt.Errorf("message %d of %d: %w", i, len(c.want), err)
		}
		if f.first&bitRSV1 != 0 {
			if f.payload, err = in.decompress(f.payload); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
		if f.op() != m.op || !bytes.Equal(f.payload, m.payload) {
			return fmt.Errorf("message %d: opcode %d, %d bytes, want %d, %d", i, f.op(), len(f.payload), m.op, len(m.payload))
		}
	}
	code := 0
	if f, err := readFrame(r); err == nil && f.op() == opClose {
		if code = noCode; len(f.payload) >= 2 {
			code = int(binary.BigEndian.Uint16(f.payload))
		}
	} else if err != io.EOF {
		return fmt.Errorf("after all messages: opcode %d, %w", f.op(), err)
	}
	if code != c.code || r.Len() > 0 {
		return fmt.Errorf("close code %d, %d bytes after it, want %d", code, r.Len(), c.code)
	}
	return nil
}
