package capture_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/test/space"
)

// Addresses of the pod and of who calls it, on the two ends of a cable.
const (
	podIP, podIP6       = "10.203.0.2", "fd00:203::2"
	callerIP, callerIP6 = "10.203.0.1", "fd00:203::1"
	proxyUser           = 1337
)

// listen tells which port a connection came to.
func listen(t *testing.T, s *space.Space, got chan<- string, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		l := s.Listen(t, a)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, port, _ := net.SplitHostPort(a)
				got <- port
				c.Close()
			}
		}()
	}
}

// call connects as a user, from an address if one is given.
func call(t *testing.T, s *space.Space, user int, from, to string) {
	t.Helper()
	s.Do(t, func() error {
		if err := unix.Setfsuid(user); err != nil {
			return err
		}
		if err := unix.Setfsgid(user); err != nil {
			return err
		}
		defer func() { _, _ = unix.Setfsuid(0), unix.Setfsgid(0) }()
		d := net.Dialer{Timeout: 2 * time.Second}
		if from != "" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
		}
		c, err := d.DialContext(context.Background(), "tcp", to)
		if err != nil {
			return fmt.Errorf("user %d to %s: %w", user, to, err)
		}
		return c.Close()
	})
}

// TestPod: what programs send and what comes in goes to the proxy, but for what is
// excluded; what the proxy sends does not.
func TestPod(t *testing.T) {
	pod, caller := space.New(t), space.New(t)
	space.Cable(t, pod, caller, "eth0", "net0")
	caller.Up(t, "net0", []string{callerIP + "/24", callerIP6 + "/64"})
	pod.Up(t, "eth0", []string{podIP + "/24", podIP6 + "/64"}, callerIP, callerIP6)
	pods, callers := make(chan string, 8), make(chan string, 8)
	listen(t, pod, pods, ":15001", ":15006", ":15053", ":15021", ":8080", ":9090")
	listen(t, caller, callers, ":80", ":81", ":443", ":53")
	nets := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	base := func(change func(*capture.Pod)) capture.Pod {
		p := capture.Pod{
			Outbound: 15001, Inbound: 15006, UIDs: []uint32{proxyUser}, GIDs: []uint32{proxyUser}, AllInbound: true, AllOutbound: true, SkipInbound: []uint16{15021},
		}
		if change != nil {
			change(&p)
		}
		return p
	}
	out := func(user int, to, want string) check { return check{where: pod, user: user, to: to, want: want} }
	in := func(to, want string) check { return check{where: caller, to: to, want: want} }
	for name, c := range map[string]struct {
		pod    capture.Pod
		checks []check
	}{
		"everything": {base(nil), []check{
			out(0, callerIP+":80", "15001"), out(0, "["+callerIP6+"]:80", "15001"),
			out(proxyUser, callerIP+":80", "80"), out(proxyUser, "["+callerIP6+"]:80", "80"),
			out(0, "127.0.0.1:8080", "8080"), out(0, podIP+":8080", "8080"),
			out(proxyUser, podIP+":8080", "15006"), out(proxyUser, "["+podIP6+"]:8080", "15006"), out(proxyUser, "127.0.0.1:8080", "8080"),
			{where: pod, user: proxyUser, from: "127.0.0.6", to: podIP + ":8080", want: "8080"},
			{where: pod, user: proxyUser, from: "::6", to: "[" + podIP6 + "]:8080", want: "8080"},
			in(podIP+":8080", "15006"), in("["+podIP6+"]:9090", "15006"), in(podIP+":15021", "15021"), out(0, callerIP+":53", "15001"),
		}},
		"names": {base(func(p *capture.Pod) { p.DNS = 15053 }), []check{out(0, callerIP+":53", "15053"), out(proxyUser, callerIP+":53", "53"), out(0, callerIP+":80", "15001")}},
		"excluded": {base(func(p *capture.Pod) {
			p.SkipOutbound, p.SkipOutboundNets, p.SkipInbound = []uint16{81}, nets(callerIP6+"/128"), []uint16{9090}
		}), []check{out(0, callerIP+":81", "81"), out(0, "["+callerIP6+"]:80", "80"), out(0, callerIP+":80", "15001"), in(podIP+":9090", "9090"), in(podIP+":8080", "15006")}},
		"only some": {base(func(p *capture.Pod) {
			p.AllInbound, p.AllOutbound, p.InboundPorts, p.OutboundNets, p.OutboundPorts = false, false, []uint16{8080}, nets("10.99.0.0/16"), []uint16{443}
		}), []check{out(0, callerIP+":80", "80"), out(0, callerIP+":443", "15001"), out(0, "10.99.0.1:80", "15001"), in(podIP+":8080", "15006"), in(podIP+":9090", "9090")}},
		"interfaces": {base(func(p *capture.Pod) { p.SkipInterfaces = []string{"eth0"} }), []check{out(0, callerIP+":80", "80"), in(podIP+":8080", "8080")}},
		"rerouted":   {base(func(p *capture.Pod) { p.Reroute = []string{"eth0"} }), []check{in(podIP+":8080", "15001"), out(0, callerIP+":80", "15001")}},
	} {
		t.Run(name, func(t *testing.T) {
			pod.Do(t, func() error { return capture.InstallPod(c.pod) })
			for _, k := range c.checks {
				call(t, k.where, k.user, k.from, k.to)
				select {
				case got := <-pods:
					k.compare(t, got)
				case got := <-callers:
					k.compare(t, got)
				case <-time.After(5 * time.Second):
					t.Fatalf("%s: nobody got it", k.to)
				}
			}
		})
	}
	pod.Do(t, capture.Remove)
	call(t, pod, 0, "", callerIP+":80")
	if got := <-callers; got != "80" {
		t.Errorf("after Remove it comes to %s", got)
	}
}

// check is one connection, and the port to which it comes.
type check struct {
	where          *space.Space
	user           int
	from, to, want string
}

func (c check) compare(t *testing.T, got string) {
	t.Helper()
	if got != c.want {
		t.Errorf("user %d to %s comes to %s, want %s", c.user, c.to, got, c.want)
	}
}
