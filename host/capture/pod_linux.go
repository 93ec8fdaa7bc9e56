package capture

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/host/netns"
)

// hbonePort is where tunnels of other meshes' proxies come in, which are no program's.
const hbonePort = 15008

// InstallPod puts the rules of a pod into the calling thread's network namespace, in place
// of those of an earlier one, in one transaction. Connections that are there already are left
// alone. It needs CAP_NET_ADMIN there, and no
// program.
func InstallPod(p Pod) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("capture rules: netlink: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	conn.AddTable(table) // so that deleting it cannot fail
	conn.DelTable(table)
	table = conn.AddTable(table)
	for name, chain := range map[string]struct {
		hook  *nftables.ChainHook
		rules []rule
	}{"output": {nftables.ChainHookOutput, p.output()}, "prerouting": {nftables.ChainHookPrerouting, p.prerouting()}} {
		c := conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeNAT, Hooknum: chain.hook, Priority: nftables.ChainPriorityNATDest})
		for _, r := range chain.rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: c, Exprs: r})
		}
	}
	if err := netns.AddInboundSource(); err != nil {
		return fmt.Errorf("capture rules: %w", err)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("capture rules (needs CAP_NET_ADMIN, and nf_tables with nat for inet in the kernel, Linux 5.2 or later): %w", err)
	}
	return nil
}

// Remove takes the rules of InstallPod away.
func Remove() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("capture rules: netlink: %w", err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	conn.AddTable(table) // so that deleting it cannot fail
	conn.DelTable(table)
	return conn.Flush()
}

func skuid(op expr.CmpOp, id uint32) rule { return owner(expr.MetaKeySKUID, op, id) }

func skgid(op expr.CmpOp, id uint32) rule { return owner(expr.MetaKeySKGID, op, id) }

func owner(key expr.MetaKey, op expr.CmpOp, id uint32) rule {
	return rule{&expr.Meta{Key: key, Register: 1}, compare(op, binaryutil.NativeEndian.PutUint32(id))}
}

// proxies are the ways to be the proxy, one rule each; programs match all others.
func (p Pod) proxies() (out []rule) {
	for _, id := range p.UIDs {
		out = append(out, skuid(expr.CmpOpEq, id))
	}
	for _, id := range p.GIDs {
		out = append(out, skgid(expr.CmpOpEq, id))
	}
	return out
}

func (p Pod) programs() (out rule) {
	for _, id := range p.UIDs {
		out = match(out, skuid(expr.CmpOpNeq, id))
	}
	for _, id := range p.GIDs {
		out = match(out, skgid(expr.CmpOpNeq, id))
	}
	return out
}

// output are the rules for what is sent in the pod, in order.
func (p Pod) output() []rule {
	rs := []rule{match(underway(), accept())}
	for _, name := range p.SkipInterfaces {
		rs = append(rs, match(oif(name), accept()))
	}
	// The proxy's traffic to its own programs.
	v4, v6 := netns.InboundSource()
	for _, from := range []rule{saddr(expr.CmpOpEq, netip.PrefixFrom(v4, v4.BitLen())), saddr(expr.CmpOpEq, netip.PrefixFrom(v6, v6.BitLen()))} {
		rs = append(rs, match(oif("lo"), from, accept()))
	}
	if p.DNS != 0 {
		for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			rs = append(rs, match(p.programs(), l4(proto), dport(expr.CmpOpEq, 53), redirect(p.DNS)))
		}
	}
	tcp := l4(unix.IPPROTO_TCP)
	for _, who := range p.proxies() {
		if p.captures() {
			// A program that calls its own service: the proxy comes to the pod's own
			// address, and is received there like any other client.
			for _, loop := range loopbacks() {
				rs = append(rs, match(who, oif("lo"), tcp, daddr(expr.CmpOpNeq, loop), redirect(p.Inbound)))
			}
		}
		rs = append(rs, match(who, accept()))
	}
	rs = append(rs, match(oif("lo"), accept())) // the programs to themselves
	return append(rs, p.outbound(nil)...)
}

func (p Pod) captures() bool { return p.AllInbound || len(p.InboundPorts) > 0 }

// outbound are the rules for traffic that programs send.
func (p Pod) outbound(from rule) (rs []rule) {
	tcp := match(from, l4(unix.IPPROTO_TCP))
	for _, n := range p.SkipOutboundNets {
		rs = append(rs, match(tcp, daddr(expr.CmpOpEq, n), accept()))
	}
	for _, port := range p.SkipOutbound {
		rs = append(rs, match(tcp, dport(expr.CmpOpEq, port), accept()))
	}
	for _, port := range p.OutboundPorts {
		rs = append(rs, match(tcp, dport(expr.CmpOpEq, port), counter(), redirect(p.Outbound)))
	}
	if p.AllOutbound {
		return append(rs, match(tcp, counter(), redirect(p.Outbound)))
	}
	for _, n := range p.OutboundNets {
		rs = append(rs, match(tcp, daddr(expr.CmpOpEq, n), counter(), redirect(p.Outbound)))
	}
	return rs
}

// prerouting are the rules for what comes into the pod.
func (p Pod) prerouting() []rule {
	rs := []rule{match(underway(), accept())}
	for _, name := range p.SkipInterfaces {
		rs = append(rs, match(iif(name), accept()))
	}
	for _, name := range p.Reroute {
		rs = append(rs, p.outbound(iif(name))...)
		rs = append(rs, match(iif(name), accept()))
	}
	tcp := match(iface(expr.MetaKeyIIFNAME, expr.CmpOpNeq, "lo"), l4(unix.IPPROTO_TCP))
	if !p.AllInbound {
		for _, port := range p.InboundPorts {
			rs = append(rs, match(tcp, dport(expr.CmpOpEq, port), redirect(p.Inbound)))
		}
		return rs
	}
	skip := append([]uint16{p.Inbound, hbonePort}, p.SkipInbound...)
	for _, port := range skip {
		rs = append(rs, match(tcp, dport(expr.CmpOpEq, port), accept()))
	}
	return append(rs, match(tcp, redirect(p.Inbound)))
}
