package host

import (
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"sync"
)

// addresses hands out the workloads' addresses: always the same one for the
// same name, as long as names do not collide.
type addresses struct {
	mu   sync.Mutex
	used map[uint16]string
}

func newAddresses() *addresses { return &addresses{used: map[uint16]string{}} }

// Host numbers below firstHost are the mesh's own (the bridge).
const firstHost = 0x0100

// take returns a number of its own for the name; give returns it.
func (a *addresses) take(name string) (uint16, error) {
	f := fnv.New32a()
	f.Write([]byte(name))
	n := uint16(f.Sum32())
	a.mu.Lock()
	defer a.mu.Unlock()
	for range 1 << 16 {
		if n >= firstHost && n != 0xffff && (a.used[n] == "" || a.used[n] == name) {
			a.used[n] = name
			return n, nil
		}
		n++
	}
	return 0, fmt.Errorf("no address is left for %s", name)
}

func (a *addresses) give(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, who := range a.used {
		if who == name {
			delete(a.used, n)
		}
	}
}

// at returns the address with that host number.
func at(p netip.Prefix, n uint16) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	b[len(b)-2], b[len(b)-1] = byte(n>>8), byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// ports allots ports of the host's loopback for capture mode proxy.
type ports struct {
	mu   sync.Mutex
	used map[uint16]bool
	// held are ports that gateways and services will listen on.
	held map[uint16]bool
	next uint16
}

// Allotted ports lie below those that the system gives to outgoing connections.
const (
	firstPort = 20000
	lastPort  = 29999
)

func newPorts() *ports { return &ports{used: map[uint16]bool{}, next: firstPort} }

// take returns the port wanted, if it is free, or another; 0: any.
func (p *ports) take(wanted uint16) (uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if wanted != 0 && !p.used[wanted] && !p.held[wanted] && free(wanted) {
		p.used[wanted] = true
		return wanted, nil
	}
	for range lastPort - firstPort + 1 {
		n := p.next
		if p.next++; p.next > lastPort {
			p.next = firstPort
		}
		if !p.used[n] && free(n) {
			p.used[n] = true
			return n, nil
		}
	}
	return 0, fmt.Errorf("no port between %d and %d is free", firstPort, lastPort)
}

// hold keeps ports from being allotted to programs; a later call replaces the list.
func (p *ports) hold(list map[uint16]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = list
}

func (p *ports) give(n uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.used, n)
}

// free tells whether a port can be listened on, also at all addresses, as most
// programs do.
func free(n uint16) bool {
	for _, a := range []string{"127.0.0.1", ""} {
		ln, err := net.Listen("tcp", net.JoinHostPort(a, fmt.Sprint(n)))
		if err != nil {
			return false
		}
		ln.Close()
	}
	return true
}
