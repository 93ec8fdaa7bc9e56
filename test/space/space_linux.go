package space

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Space is a network namespace, with a thread that lives in it.
type Space struct {
	work chan func()
	ns   *os.File
}

// New makes a namespace, with its loopback up, which goes with the test.
func New(t *testing.T) *Space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	s := &Space{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.ns, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		}
		ready <- err
		for f := range s.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	t.Cleanup(func() {
		close(s.work)
		s.ns.Close()
	})
	s.Do(t, func() error { return up("lo") })
	return s
}

// Do runs f in the namespace: sockets that it makes and programs that it starts are of it.
func (s *Space) Do(t testing.TB, f func() error) {
	t.Helper()
	if err := s.Try(f); err != nil {
		t.Fatal(err)
	}
}

// Try is Do for what may fail.
func (s *Space) Try(f func() error) error {
	done := make(chan error)
	s.work <- func() { done <- f() }
	return <-done
}

// Listen makes a socket in the namespace.
func (s *Space) Listen(t *testing.T, address string) (l net.Listener) {
	t.Helper()
	s.Do(t, func() (err error) {
		l, err = net.Listen("tcp", address) //nolint:noctx // it lives as long as the test
		return err
	})
	t.Cleanup(func() { l.Close() })
	return l
}

// Cable joins two namespaces by a pair of interfaces.
func Cable(t *testing.T, a, b *Space, nameA, nameB string) {
	t.Helper()
	a.Do(t, func() error {
		l := netlink.NewLinkAttrs()
		l.Name = nameA
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: l, PeerName: nameB, PeerNamespace: netlink.NsFd(int(b.ns.Fd()))})
	})
}

// Up gives an interface of the namespace addresses ("10.0.0.1/24"), and the default routes
// by way of the gateways.
func (s *Space) Up(t *testing.T, name string, addresses []string, gateways ...string) {
	t.Helper()
	s.Do(t, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		var errs []error
		for _, text := range addresses {
			a, err := netlink.ParseAddr(text)
			if err != nil {
				return err
			}
			a.Flags = unix.IFA_F_NODAD
			errs = append(errs, netlink.AddrAdd(l, a))
		}
		errs = append(errs, netlink.LinkSetUp(l))
		for _, via := range gateways {
			errs = append(errs, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(via)}))
		}
		return errors.Join(errs...)
	})
}

// Bridge makes a bridge of interfaces of the namespace, or adds one to it.
func (s *Space) Bridge(t *testing.T, bridge string, ports ...string) {
	t.Helper()
	s.Do(t, func() error {
		b, err := netlink.LinkByName(bridge)
		if err != nil {
			l := netlink.NewLinkAttrs()
			l.Name = bridge
			if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: l}); err != nil {
				return err
			}
			if b, err = netlink.LinkByName(bridge); err != nil {
				return err
			}
		}
		for _, p := range ports {
			l, err := netlink.LinkByName(p)
			if err != nil {
				return err
			}
			if err := errors.Join(netlink.LinkSetMaster(l, b), netlink.LinkSetUp(l)); err != nil {
				return err
			}
		}
		return nil
	})
}

func up(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}
