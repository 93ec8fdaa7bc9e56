package h2

import (
	"strings"

	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/hpack"
)

// pseudo is a set of pseudo headers, in the order of hpack's classes.
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
func (c *Conn) emit(f *hpack.Field) {
	k := &c.block
	if k.kind == blockIgnored || k.code != codec.ResetNone {
		return
	}
	k.size += len(f.Name) + len(f.Value) + 4 // about what HTTP/1 would need
	if k.size > c.opt.MaxHeadBytes {
		k.tooLarge = "http2.headers_too_large"
		return
	}
	if !f.ValueOK {
		k.bad()
		return
	}
	f.Value = trim(f.Value)
	if f.Class >= hpack.Pseudo {
		k.pseudo(f, c.client)
		return
	}
	if k.fields++; k.fields > c.opt.MaxFields {
		k.tooLarge = "http2.too_many_headers"
		return
	}
	k.regular = true
	if f.Class == hpack.Underscored && c.opt.Underscores != UnderscoresAllow {
		if c.opt.Underscores == UnderscoresReject {
			k.bad()
		}
		return
	}
	k.field(f)
}

// trim takes off blanks at the ends. RFC 9113 8.2.1 calls them malformed; peers send
// them all the same, and HTTP/1 must not see them.
func trim(v string) string {
	if v == "" || v[0] > ' ' && v[len(v)-1] > ' ' {
		return v
	}
	return strings.Trim(v, " \t")
}

func (k *block) bad() { k.code = codec.ResetProtocol }

// keep copies a value to where the message is.
func (k *block) keep(f *hpack.Field) string {
	if f.FixedValue {
		return f.Value
	}
	return k.h.KeepString(f.Value)
}

// pseudo takes a pseudo header: known, once, before all others, of the right kind of message.
func (k *block) pseudo(f *hpack.Field, client bool) {
	bit := pseudo(1) << (f.Class - hpack.Pseudo) >> 1
	if bit == 0 || k.regular || k.seen&bit != 0 || k.h == nil || (bit == hasStatus) != client {
		k.bad()
		return
	}
	k.seen |= bit
	switch bit {
	case hasMethod:
		k.h.Method = k.keep(f)
	case hasScheme:
		k.h.Scheme = k.keep(f)
	case hasAuthority:
		k.h.Authority = k.keep(f)
	case hasPath:
		k.h.Path = k.keep(f)
	case hasProtocol:
		k.h.Protocol = k.keep(f)
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

func (k *block) field(f *hpack.Field) {
	switch f.Class {
	case hpack.BadName, hpack.Hop:
		k.bad()
		return
	case hpack.TE:
		if f.Value != "trailers" {
			k.bad()
			return
		}
	case hpack.ContentLength:
		if !k.contentLength(f.Value) || k.kind == blockTrailers {
			return
		}
	case hpack.Host:
		if k.kind == blockRequest {
			k.host = k.keep(f)
			k.hosts++
			return
		}
	case hpack.Cookie:
		k.cookies++
	}
	if k.h == nil {
		return
	}
	name := f.Name
	if !f.FixedName {
		name = k.h.KeepString(name)
	}
	k.h.Add(name, k.keep(f))
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

// tokenOK and hostOK go by a bit set of the ASCII characters.
func tokenOK(s string) bool { return s != "" && tokenSet.holds(s) }
func hostOK(s string) bool  { return hostSet.holds(s) }

type byteSet [4]uint64

const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

var (
	tokenSet = newByteSet(alnum + "!#$%&'*+-.^_`|~")
	hostSet  = newByteSet(alnum + "-._~%!$&'()*+,;=:[]") // no "@": RFC 9113 8.3.1 has no user there
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
