package capture

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/wire"
)

const tableName = "weft"

// Install puts the rules into the calling thread's network namespace, in place
// of those of an earlier Install, in one transaction.
func Install(c Config) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("capture rules: netlink: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	conn.AddTable(table) // so that deleting it cannot fail
	conn.DelTable(table)
	table = conn.AddTable(table)
	out := conn.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	for _, r := range outbound(c) {
		conn.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: r})
	}
	if c.Inbound {
		in := conn.AddChain(&nftables.Chain{
			Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
		})
		for _, r := range inbound(c) {
			conn.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: r})
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("capture rules (does the kernel have nf_tables with nat for inet, Linux 5.2 or later?): %w", err)
	}
	return nil
}

func loopbacks() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// inbound are the rules for what comes from the bridge.
func inbound(c Config) []rule {
	var rs []rule
	skip := append([]uint16{wire.PortInbound, wire.PortMerged, wire.PortHealth, wire.PortPrometheus}, c.SkipInbound...)
	tcp := match(iif("eth0"), l4(unix.IPPROTO_TCP))
	for _, p := range skip {
		rs = append(rs, match(tcp, dport(expr.CmpOpEq, p), accept()))
	}
	return append(rs, match(tcp, redirect(wire.PortInbound)))
}

// outbound are the rules for what is sent in the namespace, in order.
func outbound(c Config) []rule {
	rs := loopbackOnly(c)
	// The sidecar's traffic to its own program.
	rs = append(rs,
		match(oif("lo"), saddr(expr.CmpOpEq, netip.MustParsePrefix("127.0.0.6/32")), accept()),
		match(oif("lo"), saddr(expr.CmpOpEq, netip.MustParsePrefix("::6/128")), accept()),
	)
	own := match(notMark(wire.ProxyMark), notMark(wire.RelayMark))
	if c.DNS {
		for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			rs = append(rs, match(own, l4(proto), dport(expr.CmpOpEq, 53), redirect(wire.PortDNS)))
		}
	}
	for _, v := range c.Virtual {
		rs = append(rs, virtual(own, v)...)
	}
	tcp := l4(unix.IPPROTO_TCP)
	if c.Inbound {
		// A program that calls its own service: the sidecar comes to its own
		// address, and has to be received there like any other client.
		for _, p := range loopbacks() {
			rs = append(rs, match(mark(wire.ProxyMark), oif("lo"), tcp, daddr(expr.CmpOpNeq, p), redirect(wire.PortInbound)))
		}
	}
	if c.Relay || c.RelayAll {
		rs = append(rs, relay(c)...)
	}
	rs = append(rs,
		match(mark(wire.ProxyMark), accept()),
		match(mark(wire.RelayMark), accept()),
		match(oif("lo"), accept()), // the program to itself
	)
	if !c.Outbound {
		return rs
	}
	for _, p := range c.SkipOutboundNets {
		rs = append(rs, match(daddr(expr.CmpOpEq, p), accept()))
	}
	for _, p := range c.SkipOutbound {
		rs = append(rs, match(tcp, dport(expr.CmpOpEq, p), accept()))
	}
	if len(c.OutboundNets) == 0 {
		return append(rs, match(tcp, counter(), redirect(wire.PortOutbound)))
	}
	for _, p := range c.OutboundNets {
		rs = append(rs, match(tcp, daddr(expr.CmpOpEq, p), counter(), redirect(wire.PortOutbound)))
	}
	return rs
}

// loopbackOnly are the rules for programs that cannot be reached at the
// workload's address: what the sidecar sends there goes to loopback.
func loopbackOnly(c Config) []rule {
	var rs []rule
	for _, own := range c.Own {
		source, loop := netip.MustParsePrefix("127.0.0.6/32"), netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if own.Is6() {
			source, loop = netip.MustParsePrefix("::6/128"), netip.IPv6Loopback()
		}
		for _, p := range c.Loopback {
			rs = append(rs, match(oif("lo"), l4(unix.IPPROTO_TCP), saddr(expr.CmpOpEq, source),
				daddr(expr.CmpOpEq, netip.PrefixFrom(own, own.BitLen())), dport(expr.CmpOpEq, p), dnat(netip.AddrPortFrom(loop, p))))
		}
	}
	return rs
}

// relay are the rules for what leaves the mesh: everything of one family that
// is to none of its prefixes.
func relay(c Config) []rule {
	who := mark(wire.ProxyMark)
	if c.RelayAll {
		who = notMark(wire.RelayMark)
	}
	var in4, in6 rule
	for _, p := range append(loopbacks(), c.Mesh...) {
		if p.Addr().Is4() {
			in4 = match(in4, daddr(expr.CmpOpNeq, p))
		} else {
			in6 = match(in6, daddr(expr.CmpOpNeq, p))
		}
	}
	tcp := l4(unix.IPPROTO_TCP)
	return []rule{
		match(who, tcp, in4, redirect(wire.PortRelay)),
		match(who, tcp, in6, redirect(wire.PortRelay)),
	}
}

// virtual are the rules for one service port: the first takes a connection in n,
// the next one in n-1, the last all that are left.
func virtual(own rule, v Virtual) []rule {
	proto := byte(unix.IPPROTO_TCP)
	if v.Proto == "udp" {
		proto = unix.IPPROTO_UDP
	}
	a := v.Address.Addr()
	to := match(own, l4(proto), daddr(expr.CmpOpEq, netip.PrefixFrom(a, a.BitLen())), dport(expr.CmpOpEq, v.Address.Port()))
	var rs []rule
	for i, t := range v.Targets {
		if left := len(v.Targets) - i; left > 1 {
			rs = append(rs, match(to, oneIn(uint32(left)), dnat(t)))
			continue
		}
		rs = append(rs, match(to, dnat(t)))
	}
	return rs
}
