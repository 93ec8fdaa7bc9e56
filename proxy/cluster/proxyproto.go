package cluster

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// ProxyTLVs are the TLVs of PROXY headers that a cluster sends.
type ProxyTLVs struct {
	// PassAll passes all on that the client's PROXY header had, else those of the types in Pass.
	PassAll bool
	Pass    []byte
	// Added are put in place of what is passed on.
	Added []AddedTLV
}

// AddedTLV is a TLV with a value of its own: Value, or what Format makes.
type AddedTLV struct {
	Type   byte
	Value  []byte
	Format *format.Format
}

// maxTLVs bounds the TLVs of a header, which has 16 bits for its length.
const maxTLVs = math.MaxUint16 - 1024

// TLVs encodes the TLVs of a PROXY header for a connection; i describes the
// connection, or the request. Host is the endpoint's own, which come first.
func (p *ProxyTLVs) TLVs(host []AddedTLV, i *filter.Info) string {
	var out []byte
	var seen [4]uint64
	put := func(kind byte, value []byte) {
		if len(out)+3+len(value) > maxTLVs {
			return
		}
		out = append(out, kind)
		out = binary.BigEndian.AppendUint16(out, uint16(len(value)))
		out = append(out, value...)
	}
	for n, list := range [...][]AddedTLV{host, p.added()} {
		before := seen
		for _, a := range list {
			if n > 0 && before[a.Type>>6]&(1<<(a.Type&63)) != 0 {
				continue
			}
			seen[a.Type>>6] |= 1 << (a.Type & 63)
			value := a.Value
			if a.Format != nil {
				value = a.Format.Append(nil, i)
			}
			put(a.Type, value)
		}
	}
	if p == nil || i.Conn == nil {
		return string(out)
	}
	for _, t := range i.Conn.ProxyTLVs {
		if seen[t.Type>>6]&(1<<(t.Type&63)) == 0 && (p.PassAll || bytes.IndexByte(p.Pass, t.Type) >= 0) {
			put(t.Type, t.Value)
		}
	}
	return string(out)
}

func (p *ProxyTLVs) added() []AddedTLV {
	if p == nil {
		return nil
	}
	return p.Added
}

// ProxyHeader makes a PROXY header; without both addresses it says that there are
// none. tlvs are encoded, and left out of version 1.
func ProxyHeader(version int, src, dst netip.AddrPort, tlvs string) []byte {
	known := src.IsValid() && dst.IsValid()
	s, d := src.Addr(), dst.Addr()   // "::ffff:1.2.3.4" stays IPv6, as a client's header had it
	if known && s.Is4() != d.Is4() { // of mixed families both are written as IPv6
		s, d = netip.AddrFrom16(s.As16()), netip.AddrFrom16(d.As16())
	}
	if version == 1 {
		if !known {
			return []byte("PROXY UNKNOWN\r\n")
		}
		family := "TCP6"
		if s.Is4() {
			family = "TCP4"
		}
		return fmt.Appendf(nil, "PROXY %s %s %s %d %d\r\n", family, s, d, src.Port(), dst.Port())
	}
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	if !known {
		b = append(b, 0x20, 0) // LOCAL
		b = binary.BigEndian.AppendUint16(b, uint16(len(tlvs)))
		return append(b, tlvs...)
	}
	kind := byte(0x21)
	if s.Is4() {
		kind = 0x11
	}
	body := append(append([]byte{}, s.AsSlice()...), d.AsSlice()...)
	body = binary.BigEndian.AppendUint16(body, src.Port())
	body = binary.BigEndian.AppendUint16(body, dst.Port())
	if len(body)+len(tlvs) > math.MaxUint16 {
		tlvs = "" // they were bounded when they were made
	}
	body = append(body, tlvs...)
	b = append(b, 0x21, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}
