package listener

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// proxy2 is a header of version 2.
func proxy2(command, family byte, body string) string {
	b := append([]byte(proxySign2), command, family)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(body)))) + body
}

const (
	body4 = "\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x08\xae" // 1.2.3.4:1111 to 5.6.7.8:2222
	body6 = "\x20\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x04\x57\x08\xae"
)

// The verdicts are Envoy 1.40's on the same bytes.
func TestProxyHeader(t *testing.T) {
	const four, six, own = "1.2.3.4:1111 5.6.7.8:2222", "[2001::1]:1111 [2001::2]:2222", "own"
	for _, c := range []struct{ name, in, want string }{
		{"v1", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n", four},
		{"v1 IPv6", "PROXY TCP6 2001::1 2001::2 1111 2222\r\n", six},
		{"v1 IPv4 as IPv6", "PROXY TCP6 1.2.3.4 5.6.7.8 1111 2222\r\n", "bad"},
		{"v1 unknown", "PROXY UNKNOWN\r\n", own},
		{"v1 unknown with more", "PROXY UNKNOWN ffff 1 2 3\r\n", own},
		{"v1 port too large", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 99999\r\n", "bad"},
		{"v1 port zero", "PROXY TCP4 1.2.3.4 5.6.7.8 0 2222\r\n", "1.2.3.4:0 5.6.7.8:2222"},
		{"v1 port with zeros", "PROXY TCP4 1.2.3.4 5.6.7.8 01111 2222\r\n", four},
		{"v1 multicast", "PROXY TCP4 224.2.3.4 5.6.7.8 1111 2222\r\n", "bad"},
		{"v1 no address", "PROXY TCP4 0.0.0.0 5.6.7.8 1111 2222\r\n", "bad"},
		{"v1 short", "PROXY TCP4 1.2.3.4 5.6.7.8 1111\r\n", "bad"},
		{"v1 long", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222 9\r\n", "bad"},
		{"v1 two spaces", "PROXY TCP4  1.2.3.4 5.6.7.8 1111 2222\r\n", "bad"},
		{"v1 space at the end", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222 \r\n", four},
		{"v1 without CR", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\nhi", "more"},
		{"v1 UDP", "PROXY UDP4 1.2.3.4 5.6.7.8 1111 2222\r\n", "bad"},
		{"v1 longest", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", own},
		{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("x", 93) + "\r\n", "bad"},
		{"v2", proxy2(0x21, 0x11, body4), four},
		{"v2 IPv6", proxy2(0x21, 0x21, body6), six},
		{"v2 datagrams", proxy2(0x21, 0x12, body4), four},
		{"v2 local", proxy2(0x20, 0, ""), own},
		{"v2 local with addresses", proxy2(0x20, 0x11, body4), own},
		{"v2 no family", proxy2(0x21, 0, ""), "bad"},
		{"v2 unix", proxy2(0x21, 0x31, strings.Repeat("x", 216)), "bad"},
		{"v2 too short", proxy2(0x21, 0x11, body4[:8]), "bad"},
		{"v2 version", proxy2(0x31, 0x11, body4), "bad"},
		{"v2 command", proxy2(0x22, 0x11, body4), "bad"},
		{"v2 no address", proxy2(0x21, 0x11, "\x00\x00\x00\x00"+body4[4:]), "bad"},
		{"v2 multicast", proxy2(0x21, 0x11, "\xe0\x01\x01\x01"+body4[4:]), "bad"},
		{"v2 TLV cut off", proxy2(0x21, 0x11, body4+"\x02\x00\x09abc"), "bad"},
		{"v2 TLV head cut off", proxy2(0x21, 0x11, body4+"\x02\x00"), "bad"},
		{"something else", "GET / HTTP/1.1\r\n", "none"},
		{"something else and short", "hi", "more"},
		{"lower case", "proxy TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n", "none"},
		{"signature with a wrong byte", proxySign2[:11] + "X!!!!!", "none"},
		{"the beginning", "PROX", "more"},
	} {
		if got := readProxy(&ProxyHeaders{}, []byte(c.in)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// readProxy reads a header as a connection does, in words.
func readProxy(p *ProxyHeaders, b []byte) string {
	h, s := p.find(b)
	switch {
	case s == seenMore:
		return "more"
	case s == seenNo:
		return "none"
	case h.size == 0:
		return "bad"
	case h.size > len(b):
		return "more"
	}
	got, err := parseProxy(h.version, b[:h.size])
	switch {
	case err != nil:
		return "bad"
	case !got.src.IsValid():
		return "own"
	}
	return got.src.String() + " " + got.dst.String()
}

func TestProxyHeaderIsOptional(t *testing.T) {
	v1, v2 := "PROXY UNKNOWN\r\n", proxy2(0x20, 0, "")
	for _, c := range []struct {
		in     string
		banned [2]bool
		want   string
	}{
		{v1, [2]bool{}, "own"}, {v2, [2]bool{}, "own"}, {"h", [2]bool{}, "none"}, {"P", [2]bool{}, "more"}, {"\r", [2]bool{}, "more"},
		{v1, [2]bool{true}, "none"}, {"P", [2]bool{true}, "none"}, {v2, [2]bool{true}, "own"},
		{v2, [2]bool{false, true}, "none"}, {v1, [2]bool{false, true}, "own"}, {v1, [2]bool{true, true}, "none"},
	} {
		p := &ProxyHeaders{AllowWithout: true, Banned: c.banned}
		if got := readProxy(p, []byte(c.in)); got != c.want {
			t.Errorf("%q with %v banned: %s, want %s", c.in, c.banned, got, c.want)
		}
	}
}

func TestTLVsBecomeMetadata(t *testing.T) {
	p := &ProxyHeaders{Rules: []TLVRule{{Type: 2, Namespace: "n", Key: "auth"}, {Type: 0xe0, Namespace: "m", Key: "bin", Base64: true}}}
	h, err := parseProxy(2, []byte(proxy2(0x21, 0x11, body4+"\x02\x00\x04a\xff\xfec\x05\x00\x01z\xe0\x00\x02\x00\x01\x02\x00\x01z")))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"n": map[string]any{"auth": "a!!c"}, "m": map[string]any{"bin": "AAE="}}
	if d := cmp.Diff(want, p.metadata(h.tlvs)); d != "" {
		t.Error(d)
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n"))
	f.Add([]byte(proxy2(0x21, 0x21, body6+"\x02\x00\x03abc")))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &ProxyHeaders{Rules: []TLVRule{{Type: 2, Namespace: "n", Key: "k"}}}
		h, s := p.find(b)
		if s != seenYes || h.size == 0 || h.size > len(b) {
			return
		}
		got, err := parseProxy(h.version, b[:h.size])
		if err != nil {
			return
		}
		p.metadata(got.tlvs)
		if got.src.IsValid() != got.dst.IsValid() || got.src == (netip.AddrPort{}) != (got.dst == netip.AddrPort{}) {
			t.Errorf("%v to %v", got.src, got.dst)
		}
	})
}
