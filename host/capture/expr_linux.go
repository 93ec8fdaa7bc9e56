package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A rule is a list of expressions; these build the parts of one, in the order
// of nft's own language. Register 1 is scratch.

type rule []expr.Any

func match(parts ...rule) rule {
	var r rule
	for _, p := range parts {
		r = append(r, p...)
	}
	return r
}

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: 1, Data: data}
}

func l4(proto byte) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, compare(expr.CmpOpEq, []byte{proto})}
}

func family(a netip.Addr) rule {
	f := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		f = unix.NFPROTO_IPV6
	}
	return rule{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, compare(expr.CmpOpEq, []byte{f})}
}

func mark(m uint32) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(m))}
}

func notMark(m uint32) rule {
	return rule{&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, compare(expr.CmpOpNeq, binaryutil.NativeEndian.PutUint32(m))}
}

func oif(name string) rule { return iface(expr.MetaKeyOIFNAME, expr.CmpOpEq, name) }

func iif(name string) rule { return iface(expr.MetaKeyIIFNAME, expr.CmpOpEq, name) }

func iface(key expr.MetaKey, op expr.CmpOp, name string) rule {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return rule{&expr.Meta{Key: key, Register: 1}, compare(op, b)}
}

func dport(op expr.CmpOp, port uint16) rule {
	return rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		compare(op, binary.BigEndian.AppendUint16(nil, port)),
	}
}

// daddr matches packets of the prefix's family to (op ==) or not to (op !=) it.
func daddr(op expr.CmpOp, p netip.Prefix) rule { return addr(op, p, 16, 24) }

func saddr(op expr.CmpOp, p netip.Prefix) rule { return addr(op, p, 12, 8) }

func addr(op expr.CmpOp, p netip.Prefix, off4, off6 uint32) rule {
	off, n := off4, uint32(4)
	if p.Addr().Is6() {
		off, n = off6, 16
	}
	r := append(family(p.Addr()),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: off, Len: n})
	if p.Bits() < p.Addr().BitLen() {
		mask := make([]byte, n)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		r = append(r, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: n, Mask: mask, Xor: make([]byte, n)})
	}
	return append(r, compare(op, p.Masked().Addr().AsSlice()))
}

// underway matches TCP that does not begin a connection: what was there before anybody kept track of
// connections looks new to the kernel with its first packet.
func underway() rule {
	const flags, syn = 13, 0x02 // RFC 9293, 3.1
	return match(l4(unix.IPPROTO_TCP), rule{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn}, Xor: []byte{0}},
		compare(expr.CmpOpEq, []byte{0}),
	})
}

func accept() rule { return rule{&expr.Verdict{Kind: expr.VerdictAccept}} }

// counter counts the connections that come this far: of each, nat chains see the first
// packet only.
func counter() rule { return rule{&expr.Counter{}} }

func redirect(port uint16) rule {
	return rule{
		&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Redir{RegisterProtoMin: 1, RegisterProtoMax: 1, Flags: unix.NF_NAT_RANGE_PROTO_SPECIFIED},
	}
}

// oneIn matches one connection in n, by chance.
func oneIn(n uint32) rule {
	return rule{
		&expr.Numgen{Register: 1, Type: unix.NFT_NG_RANDOM, Modulus: n},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(0)),
	}
}

func dnat(to netip.AddrPort) rule {
	f := uint32(unix.NFPROTO_IPV4)
	if to.Addr().Is6() {
		f = unix.NFPROTO_IPV6
	}
	return rule{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, to.Port())},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: f, RegAddrMin: 1, RegAddrMax: 1, RegProtoMin: 2, RegProtoMax: 2, Specified: true},
	}
}
