package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const bridgeName = "weft0"

// Current opens the calling thread's network namespace.
func Current() (*os.File, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("network namespace of this thread (is /proc mounted?): %w", err)
	}
	return f, nil
}

// Hub makes the calling thread's fresh namespace the middle of the mesh's
// network. v6 tells whether the kernel has IPv6.
func Hub(l Layout) (v6 bool, err error) {
	v6 = prepare("default", "all")
	if err := loopback(v6); err != nil {
		return v6, err
	}
	// A packet to an address that nobody has is answered at once instead of
	// being dropped: the hub forwards, and has no way out.
	sysctl("net/ipv4/ip_forward", "1")
	sysctl("net/ipv6/conf/all/forwarding", "1")
	// Packets between workloads pass their own namespaces' rules, not the bridge's.
	for _, k := range []string{"iptables", "ip6tables", "arptables"} {
		sysctl("net/bridge/bridge-nf-call-"+k, "0")
	}
	off := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridgeName
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}
	if err := netlink.LinkAdd(br); err != nil {
		return v6, fmt.Errorf("bridge %s (does the kernel have the bridge module?): %w", bridgeName, err)
	}
	if err := assign(br, l.Hub4, l.V4.Bits()); err != nil {
		return v6, err
	}
	if v6 {
		if err := assign(br, l.Hub6, l.V6.Bits()); err != nil {
			return v6, err
		}
	}
	if err := netlink.LinkSetUp(br); err != nil {
		return v6, fmt.Errorf("bridge %s up: %w", bridgeName, err)
	}
	return v6, nil
}

// Plug makes a veth pair between the calling thread's namespace, which must be
// the hub's, and target, where its end is called eth0. port is the name of the
// hub's end.
func Plug(port string, target *os.File) error {
	br, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", bridgeName, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = port
	attrs.MasterIndex = br.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(target.Fd()))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth %s (does the kernel have the veth module?): %w", port, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("veth %s up: %w", port, err)
	}
	return nil
}

// Unplug removes the hub's end of a pair, and with it the other.
func Unplug(port string) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		return fmt.Errorf("veth %s: %w", port, err)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("veth %s: %w", port, err)
	}
	return nil
}

// Prepare readies the calling thread's fresh namespace before Plug: loopback
// with the extra address of a sidecar, and what an ordinary program expects.
func Prepare() (v6 bool, err error) {
	v6 = prepare("default", "all")
	// A program may listen on port 80 as it could in a container of its own.
	sysctl("net/ipv4/ip_unprivileged_port_start", "0")
	// Connections are tracked in every namespace they pass: forget closed ones soon.
	sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "10")
	return v6, loopback(v6)
}

// Attach gives eth0, plugged before, its addresses and default routes.
func Attach(l Layout, v4, v6 netip.Addr) error {
	eth, err := netlink.LinkByName("eth0")
	if err != nil {
		return fmt.Errorf("eth0: %w", err)
	}
	if err := assign(eth, v4, l.V4.Bits()); err != nil {
		return err
	}
	if v6.IsValid() {
		if err := assign(eth, v6, l.V6.Bits()); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(eth); err != nil {
		return fmt.Errorf("eth0 up: %w", err)
	}
	if err := defaultRoute(eth, l.Hub4); err != nil {
		return err
	}
	if v6.IsValid() {
		return defaultRoute(eth, l.Hub6)
	}
	return nil
}

func defaultRoute(eth netlink.Link, via netip.Addr) error {
	any4 := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if via.Is6() {
		any4 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	dst := ipNet(any4.Addr(), 0)
	err := netlink.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: dst, Gw: via.AsSlice()})
	if err != nil {
		return fmt.Errorf("default route via %s: %w", via, err)
	}
	return nil
}

func loopback(v6 bool) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("lo up: %w", err)
	}
	if !v6 {
		return nil
	}
	_, in6 := InboundSource()
	return assign(lo, in6, 128)
}

// assign adds an address that is usable at once: nobody else can have it, so
// IPv6 need not look for duplicates.
func assign(link netlink.Link, a netip.Addr, bits int) error {
	addr := &netlink.Addr{IPNet: ipNet(a, bits)}
	if a.Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrReplace(link, addr); err != nil {
		return fmt.Errorf("address %s/%d on %s: %w", a, bits, link.Attrs().Name, err)
	}
	return nil
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
}

// prepare switches IPv6 on where the host has it off by default, and tells
// whether there is any.
func prepare(confs ...string) bool {
	if _, err := os.Stat("/proc/sys/net/ipv6/conf"); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for _, c := range append(confs, "lo") {
		sysctl("net/ipv6/conf/"+c+"/disable_ipv6", "0")
		sysctl("net/ipv6/conf/"+c+"/accept_dad", "0")
		sysctl("net/ipv6/conf/"+c+"/accept_ra", "0")
	}
	raw, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6")
	return err == nil && len(raw) > 0 && raw[0] == '0'
}

// sysctl sets what can be set; none of them is needed for the mesh to work.
func sysctl(key, value string) {
	_ = os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0)
}

// AddInboundSource adds the address of InboundSource that no loopback interface has by
// itself, where there is IPv6.
func AddInboundSource() error {
	raw, err := os.ReadFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6")
	if err != nil || len(raw) == 0 || raw[0] != '0' {
		return nil //nolint:nilerr // there is no IPv6
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	_, in6 := InboundSource()
	return assign(lo, in6, 128)
}
