package listener

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

// ProxyHeaders configures the listener filter that reads PROXY protocol
// headers, of version 1 and 2: the addresses in them become the connection's.
type ProxyHeaders struct {
	// AllowWithout lets connections in that begin with something else.
	AllowWithout bool
	// Banned versions: V1 is bans[0].
	Banned [2]bool
	// Rules keep TLVs as the connection's metadata; with InState, as an object of filter
	// state (TLVState) instead.
	Rules   []TLVRule
	InState bool
	// Stats are where it counts.
	Stats ProxyStats
}

// TLVRule keeps the first TLV of a type under a key of a metadata namespace.
type TLVRule struct {
	Type           byte
	Namespace, Key string
	// Base64 encodes the value; else what is not UTF-8 in it becomes "!".
	Base64 bool
}

// TLVState is where filter state has TLVs, by the keys of their rules.
const TLVState = "envoy.network.proxy_protocol.tlv"

// keep puts TLVs into filter state: by their keys, whatever the namespaces.
func (a *arrival) keep(spaces map[string]any) {
	all := filter.Fields{}
	for _, space := range spaces {
		for k, v := range space.(map[string]any) {
			all[k] = v.(string)
		}
	}
	objects := map[string]any{TLVState: all}
	maps.Copy(objects, a.facts.Objects)
	a.facts.Objects = objects
}

// ProxyStats are a filter's counters; index 0 is version 1.
type ProxyStats struct {
	NotFoundAllowed, NotFoundDisallowed *filter.Counter
	Found, Disallowed, Errors           [2]*filter.Counter
	// Refused counts all connections that were closed for their header, but for
	// those of a banned version.
	Refused *filter.Counter
}

// What the bytes of a PROXY header look like.
const (
	proxySign1   = "PROXY "
	proxySign2   = "\r\n\r\n\x00\r\nQUIT\n"
	proxyHead2   = 16  // signature, version and command, family, length
	maxProxyLine = 108 // of version 1, with its end
)

// proxyHead is what the first bytes say about a PROXY header.
type proxyHead struct {
	version int // 1 or 2; 0: there is none
	size    int // of all of it; 0: its end is not where it must be
}

// find looks for the beginning of a header; seenNo: there is none.
func (p *ProxyHeaders) find(b []byte) (proxyHead, seen) {
	if p.AllowWithout && (p.Banned[0] || !begins(b, proxySign1)) && (p.Banned[1] || !begins(b, proxySign2)) {
		return proxyHead{}, seenNo
	}
	if len(b) >= proxyHead2 {
		if begins(b, proxySign2) {
			return proxyHead{2, proxyHead2 + int(binary.BigEndian.Uint16(b[14:]))}, seenYes
		}
		if !begins(b, proxySign1) {
			return proxyHead{}, seenNo
		}
	}
	if len(b) < len(proxySign1) || !begins(b, proxySign1) {
		return proxyHead{}, seenMore
	}
	line := b[:min(len(b), maxProxyLine)]
	if i := bytes.Index(line, []byte("\r\n")); i >= 0 {
		return proxyHead{1, i + 2}, seenYes
	}
	if len(line) == maxProxyLine {
		return proxyHead{version: 1}, seenYes
	}
	return proxyHead{}, seenMore
}

// begins tells whether b is the beginning of sign, or begins with it.
func begins(b []byte, sign string) bool {
	n := min(len(b), len(sign))
	return string(b[:n]) == sign[:n]
}

// proxied is what a header says.
type proxied struct {
	// src and dst are invalid where the header names no addresses: the
	// connection's own hold.
	src, dst netip.AddrPort
	tlvs     []byte
}

var errNoProxyHeader = errors.New("there is no PROXY header of a version that is allowed")

var errNotUnicast = errors.New("an address is not that of one host")

// parseProxy reads a whole header.
func parseProxy(version int, b []byte) (proxied, error) {
	var p proxied
	var err error
	if version == 1 {
		p, err = parseProxyLine(string(b))
	} else {
		p, err = parseProxyBinary(b)
	}
	if err == nil && p.src.IsValid() && (!unicast(p.src.Addr()) || !unicast(p.dst.Addr())) {
		err = errNotUnicast
	}
	return p, err
}

func unicast(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// parseProxyLine reads "PROXY TCP4 from to fromPort toPort".
func parseProxyLine(line string) (proxied, error) {
	var p proxied
	parts := strings.Split(strings.TrimSpace(line), " ")
	if len(parts) >= 2 && parts[1] == "UNKNOWN" {
		return p, nil
	}
	if len(parts) != 6 {
		return p, fmt.Errorf("%d words: want 6", len(parts))
	}
	var err error
	if p.src, err = lineAddress(parts[1], parts[2], parts[4]); err != nil {
		return p, err
	}
	p.dst, err = lineAddress(parts[1], parts[3], parts[5])
	return p, err
}

func lineAddress(family, addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if a.Zone() != "" || family != "TCP4" && family != "TCP6" || a.Is4() != (family == "TCP4") {
		return netip.AddrPort{}, fmt.Errorf("%s is no address of the family %s", addr, family)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), err
}

// parseProxyBinary reads version 2.
func parseProxyBinary(b []byte) (proxied, error) {
	var p proxied
	command, family, rest := b[12], b[13], b[proxyHead2:]
	switch {
	case command>>4 != 2:
		return p, fmt.Errorf("version %d", command>>4)
	case command&15 == 0: // LOCAL: the proxy speaks for itself
		return p, nil
	case command&15 != 1:
		return p, fmt.Errorf("command %d", command&15)
	case family&15 != 1 && family&15 != 2:
		return p, fmt.Errorf("transport %d", family&15)
	}
	n := 0
	switch family >> 4 {
	case 1:
		n = 4
	case 2:
		n = 16
	default:
		return p, fmt.Errorf("address family %d", family>>4)
	}
	if len(rest) < 2*n+4 {
		return p, errors.New("it is too short for its addresses")
	}
	src, _ := netip.AddrFromSlice(rest[:n])
	dst, _ := netip.AddrFromSlice(rest[n : 2*n])
	ports := rest[2*n:]
	p.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(ports))
	p.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ports[2:]))
	p.tlvs = ports[4:]
	return p, eachTLV(p.tlvs, func(byte, []byte) {})
}

// eachTLV calls f for each TLV in b.
func eachTLV(b []byte, f func(kind byte, value []byte)) error {
	for c := (cursor{b, true}); len(c.b) > 0; {
		kind := c.uint(1)
		value := c.vector(2)
		if !c.ok || !value.ok {
			return errors.New("a TLV is longer than the header")
		}
		f(byte(kind), value.b)
	}
	return nil
}

// validUTF8 puts "!" for each byte that belongs to no character.
func validUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out []byte
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			out = append(out, '!')
		} else {
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return string(out)
}

// metadata is what the rules keep of a header, by namespace; nil: nothing.
func (p *ProxyHeaders) metadata(tlvs []byte) map[string]any {
	if len(p.Rules) == 0 || len(tlvs) == 0 {
		return nil
	}
	var out map[string]any
	keep := func(r *TLVRule, value []byte) {
		if out == nil {
			out = map[string]any{}
		}
		space, _ := out[r.Namespace].(map[string]any)
		if space == nil {
			space = map[string]any{}
			out[r.Namespace] = space
		}
		if _, twice := space[r.Key]; twice {
			return
		}
		if r.Base64 {
			space[r.Key] = base64.StdEncoding.EncodeToString(value)
		} else {
			space[r.Key] = validUTF8(value)
		}
	}
	_ = eachTLV(tlvs, func(kind byte, value []byte) { // parseProxy has seen them
		for i := range p.Rules {
			if p.Rules[i].Type == kind {
				keep(&p.Rules[i], value)
				return
			}
		}
	})
	return out
}

// unwrapOne reads one header and takes over what it says.
func (a *arrival) unwrapOne(p *ProxyHeaders, restored *bool) error {
	var head proxyHead
	s := seenMore
	nc, err := transport.Peek(a.nc, func(b []byte) bool {
		head, s = p.find(b)
		return s != seenMore
	})
	a.nc = nc
	switch {
	case err != nil:
		return err
	case s == seenMore:
		return io.ErrUnexpectedEOF
	case s == seenNo && p.AllowWithout:
		p.Stats.NotFoundAllowed.Add(1)
		return nil
	case s == seenNo:
		p.Stats.NotFoundDisallowed.Add(1)
		p.Stats.Refused.Add(1)
		return errNoProxyHeader
	}
	v := head.version - 1
	fail := func(err error) error {
		p.Stats.Errors[v].Add(1)
		p.Stats.Refused.Add(1)
		return fmt.Errorf("PROXY header: %w", err)
	}
	if head.size == 0 {
		return fail(errors.New("the line does not end"))
	}
	if p.Banned[v] {
		p.Stats.Found[v].Add(1)
		p.Stats.Disallowed[v].Add(1)
		return errNoProxyHeader
	}
	b := make([]byte, head.size)
	if _, err := io.ReadFull(a.nc, b); err != nil {
		return err
	}
	h, err := parseProxy(head.version, b)
	if err != nil {
		return fail(err)
	}
	p.Stats.Found[v].Add(1)
	a.accept(p, &h, restored)
	return nil
}

// accept makes what a header says that of the connection.
func (a *arrival) accept(p *ProxyHeaders, h *proxied, restored *bool) {
	if h.src.IsValid() {
		if h.dst != a.facts.Local {
			a.facts.Local, *restored = h.dst, true
		}
		a.facts.Remote = h.src
	}
	_ = eachTLV(h.tlvs, func(kind byte, value []byte) { // parseProxy has seen them
		a.tlvs = append(a.tlvs, filter.TLV{Type: kind, Value: value})
	})
	switch m := p.metadata(h.tlvs); {
	case m == nil:
	case p.InState:
		a.keep(m)
	default:
		a.metadata = m
	}
}
