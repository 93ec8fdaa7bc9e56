package listener

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// clientHello records what crypto/tls sends first.
func clientHello(t testing.TB, cfg *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	cfg.InsecureSkipVerify = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(a, cfg).Handshake()
		a.Close()
	}()
	head := make([]byte, recordHeader)
	if _, err := io.ReadFull(b, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(b, body); err != nil {
		t.Fatal(err)
	}
	b.Close()
	<-done
	return append(head, body...)
}

// split puts the message of one record into records of n bytes.
func split(rec []byte, n int) []byte {
	var out []byte
	for body := rec[recordHeader:]; len(body) > 0; {
		m := min(n, len(body))
		out = append(out, recordHandshake, 3, 1, byte(m>>8), byte(m))
		out = append(out, body[:m]...)
		body = body[m:]
	}
	return out
}

func TestParseHello(t *testing.T) {
	type got struct {
		SNI  string
		ALPN []string
		Seen seen
	}
	full := clientHello(t, &tls.Config{ServerName: "A.Example.com", NextProtos: []string{"istio", "h2"}})
	old := clientHello(t, &tls.Config{MaxVersion: tls.VersionTLS12})
	for _, c := range []struct {
		name string
		in   []byte
		want got
	}{
		{"name and protocols", full, got{"a.example.com", []string{"istio", "h2"}, seenYes}},
		{"several records", split(full, 100), got{"a.example.com", []string{"istio", "h2"}, seenYes}},
		{"a byte per record", split(full, 1), got{"a.example.com", []string{"istio", "h2"}, seenYes}},
		{"more after it", append(append([]byte{}, full...), "xyz"...), got{"a.example.com", []string{"istio", "h2"}, seenYes}},
		{"no name", old, got{"", nil, seenYes}},
		{"nothing", nil, got{"", nil, seenMore}},
		{"http", []byte("GET / HTTP/1.1\r\n"), got{"", nil, seenNo}},
		{"one wrong byte", []byte{23}, got{"", nil, seenNo}},
		{"sslv2", []byte{0x80, 0x2e, 1, 0, 2}, got{"", nil, seenNo}},
		{"server hello", []byte{22, 3, 3, 0, 4, 2}, got{"", nil, seenNo}},
		{"empty record", []byte{22, 3, 3, 0, 0}, got{"", nil, seenNo}},
		{"too long a record", []byte{22, 3, 3, 0xff, 0xff}, got{"", nil, seenNo}},
		{"hello of nonsense", []byte{22, 3, 3, 0, 5, 1, 0, 0, 1, 7}, got{"", nil, seenNo}},
	} {
		h, s := parseHello(c.in)
		if d := cmp.Diff(c.want, got{h.sni, h.alpn, s}); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
	for i := range full {
		if _, s := parseHello(full[:i]); s != seenMore {
			t.Fatalf("the first %d of %d bytes: %v, want more", i, len(full), s)
		}
	}
}

func TestParsePreface(t *testing.T) {
	for _, c := range []struct {
		in, proto string
		s         seen
	}{
		{"GET / HTTP/1.1\r\nHost: a\r\n", ProtoHTTP1, seenYes},
		{"GET / HTTP/1.1\n", ProtoHTTP1, seenYes},
		{"POST /a%20b HTTP/1.0\r\n", ProtoHTTP0, seenYes},
		{"CONNECT a:443 HTTP/1.1\r\n", ProtoHTTP1, seenYes},
		{h2Preface, ProtoH2C, seenYes},
		{h2Preface + "more", ProtoH2C, seenYes},
		{"PRI * HTTP/2.0\r\n\r\nSM", "", seenMore},
		{"PRI", "", seenMore},
		{"PRIV / HTTP/1.1\r\n", ProtoHTTP1, seenYes},
		{"", "", seenMore},
		{"GE", "", seenMore},
		{"GET /abc", "", seenMore},
		{"GET / HTTP/1.1\r", "", seenMore},
		{"GET /\r\n", "", seenNo},
		{"get key\r\n", "", seenNo}, // memcached
		{"*1\r\n$4\r\nPING\r\n", "", seenNo},
		{"PING\r\n", "", seenNo},
		{" GET / HTTP/1.1\r\n", "", seenNo},
		{"GET / HTTP/2.0\r\n", "", seenNo},
		{"GET  HTTP/1.1\r\n", "", seenNo},
		{"GET /\x00", "", seenNo},
		{strings.Repeat("A", 33), "", seenNo},
		{"GET /" + strings.Repeat("a", 9000), "", seenNo},
		{"\x16\x03\x01", "", seenNo},
	} {
		if proto, s := parsePreface([]byte(c.in)); proto != c.proto || s != c.s {
			t.Errorf("%.30q: %q, %v; want %q, %v", c.in, proto, s, c.proto, c.s)
		}
	}
}

func FuzzParseHello(f *testing.F) {
	full := clientHello(f, &tls.Config{ServerName: "a.example.com", NextProtos: []string{"h2"}})
	f.Add(full)
	f.Add(split(full, 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, s := parseHello(b)
		if s != seenYes && (h.sni != "" || h.alpn != nil) {
			t.Error("names without a hello")
		}
		if s != seenMore { // more bytes do not change the mind
			if _, s2 := parseHello(append(b[:len(b):len(b)], 0)); s2 != s {
				t.Errorf("%v became %v with one byte more", s, s2)
			}
		}
	})
}

func FuzzParsePreface(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Add([]byte(h2Preface))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, s := parsePreface(b)
		if s == seenMore && len(b) > maxLine {
			t.Error("wants more than a line")
		}
		if s != seenMore {
			if _, s2 := parsePreface(append(b[:len(b):len(b)], 'x')); s2 != s {
				t.Errorf("%v became %v with one byte more", s, s2)
			}
		}
	})
}
