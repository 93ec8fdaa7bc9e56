package h2

import (
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/proxy/http/codec"
)

// pseudo is a set of pseudo headers.
type pseudo uint8

const (
	hasMethod pseudo = 1 << iota
	hasScheme
	hasAuthority
	hasPath
	hasProtocol
	hasStatus
)

// emit takes one decoded field.
func (c *Conn) emit(f hpack.HeaderField) {
	k := &c.block
	if k.kind == blockIgnored || k.code != codec.ResetNone {
		return
	}
	k.size += len(f.Name) + len(f.Value) + 4 // about what HTTP/1 would need
	if k.size > c.opt.MaxHeadBytes {
		k.tooLarge = "http2.headers_too_large"
		return
	}
	if !valueOK(f.Value) {
		k.bad()
		return
	}
	// RFC 9113 8.2.1 calls it malformed; peers send it all the same, and HTTP/1 must not see it.
	f.Value = strings.Trim(f.Value, " \t")
	if strings.HasPrefix(f.Name, ":") {
		k.pseudo(f, c.client)
		return
	}
	if k.fields++; k.fields > c.opt.MaxFields {
		k.tooLarge = "http2.too_many_headers"
		return
	}
	if !nameOK(f.Name) {
		k.bad()
		return
	}
	k.regular = true
	if c.opt.Underscores != UnderscoresAllow && strings.IndexByte(f.Name, '_') >= 0 {
		if c.opt.Underscores == UnderscoresReject {
			k.bad()
		}
		return
	}
	k.field(f)
}

func (k *block) bad() { k.code = codec.ResetProtocol }

// pseudo takes a pseudo header: known, once, before all others, of the right kind of message.
func (k *block) pseudo(f hpack.HeaderField, client bool) {
	var bit pseudo
	switch f.Name {
	case ":method":
		bit = hasMethod
	case ":scheme":
		bit = hasScheme
	case ":authority":
		bit = hasAuthority
	case ":path":
		bit = hasPath
	case ":protocol":
		bit = hasProtocol
	case ":status":
		bit = hasStatus
	}
	if bit == 0 || k.regular || k.seen&bit != 0 || k.h == nil || (bit == hasStatus) != client {
		k.bad()
		return
	}
	k.seen |= bit
	switch bit {
	case hasMethod:
		k.h.Method = f.Value
	case hasScheme:
		k.h.Scheme = f.Value
	case hasAuthority:
		k.h.Authority = f.Value
	case hasPath:
		k.h.Path = f.Value
	case hasProtocol:
		k.h.Protocol = f.Value
	case hasStatus:
		k.status(f.Value)
	}
}

func (k *block) status(v string) {
	if len(v) != 3 {
		k.bad()
		return
	}
	for i := range 3 {
		if v[i] < '0' || v[i] > '9' {
			k.bad()
			return
		}
		k.h.Status = k.h.Status*10 + int(v[i]-'0')
	}
	if k.h.Status < 100 || k.h.Status == 101 { // RFC 9113 8.6: there is no 101
		k.bad()
	}
}

func (k *block) field(f hpack.HeaderField) {
	switch f.Name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		k.bad()
		return
	case "te":
		if f.Value != "trailers" {
			k.bad()
			return
		}
	case "content-length":
		if !k.contentLength(f.Value) || k.kind == blockTrailers {
			return
		}
	case "host":
		if k.kind == blockRequest {
			k.host = f.Value
			k.hosts++
			return
		}
	case "cookie":
		k.cookies++
	}
	if k.h != nil {
		k.h.Add(f.Name, f.Value)
	}
}

func (k *block) contentLength(v string) bool {
	if k.length >= 0 || v == "" || len(v) > 18 {
		k.bad()
		return false
	}
	k.length = 0
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			k.bad()
			return false
		}
		k.length = k.length*10 + int64(v[i]-'0')
	}
	return true
}

// completeRequest checks the whole head and gives it its common form.
func (k *block) completeRequest() {
	h := k.h
	const whole = hasMethod | hasScheme | hasPath
	if k.hosts > 1 {
		k.bad()
	}
	if k.seen&hasAuthority == 0 {
		h.Authority = k.host
	}
	switch {
	case h.Method == "" || !tokenOK(h.Method) || !hostOK(h.Authority):
		k.bad()
	case h.Method == "CONNECT" && k.seen&hasProtocol == 0:
		if k.seen&(hasScheme|hasPath) != 0 || h.Authority == "" {
			k.bad()
		}
	case k.seen&whole != whole || h.Authority == "" || !tokenOK(h.Scheme) || !pathOK(h.Path, h.Method):
		k.bad()
	case k.seen&hasProtocol != 0:
		if h.Method != "CONNECT" || !tokenOK(h.Protocol) {
			k.bad()
		}
		h.Method = "GET"
	}
	if k.cookies > 1 {
		k.joinCookies()
	}
}

// joinCookies makes one field of several (RFC 9113 8.2.3).
func (k *block) joinCookies() {
	all := make([]string, 0, k.cookies)
	for v := range k.h.Values("cookie") {
		all = append(all, v)
	}
	k.h.Set("cookie", strings.Join(all, "; "))
}

func (k *block) completeResponse() {
	if k.seen&hasStatus == 0 {
		k.bad()
	}
}

func pathOK(p, method string) bool {
	if p == "*" {
		return method == "OPTIONS"
	}
	if p == "" || p[0] != '/' {
		return false
	}
	for i := range len(p) {
		if p[i] <= ' ' || p[i] == 0x7f || p[i] == '#' {
			return false
		}
	}
	return true
}

func valueOK(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func nameOK(n string) bool {
	for i := range len(n) {
		if c := n[i]; 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return tokenOK(n)
}

// tokenOK and hostOK go by a bit set of the ASCII characters.
func tokenOK(s string) bool { return s != "" && tokenSet.holds(s) }
func hostOK(s string) bool  { return hostSet.holds(s) }

type byteSet [4]uint64

const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

var (
	tokenSet = newByteSet(alnum + "!#$%&'*+-.^_`|~")
	hostSet  = newByteSet(alnum + "-._~%!$&'()*+,;=:@[]")
)

func newByteSet(chars string) *byteSet {
	var s byteSet
	for i := range len(chars) {
		s[chars[i]>>6] |= 1 << (chars[i] & 63)
	}
	return &s
}

func (s *byteSet) holds(v string) bool {
	for i := range len(v) {
		if s[v[i]>>6]>>(v[i]&63)&1 == 0 {
			return false
		}
	}
	return true
}
