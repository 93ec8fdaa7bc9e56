// Package freeport finds TCP ports for tests. They are below those that the system gives
// away, so that nobody's outgoing connection takes one between the finding and the
// listening. None is given twice: a process takes ports from blocks that are its alone,
// for as long as it runs. It does not keep programs off that are no tests.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Below the range of ephemeral ports, which begins at 32768 (ip_local_port_range), and
// below those of `weft up --capture proxy` (from 20000) and of test/peers/envoy (from 22000).
const (
	first  = 16_000 // above Istio's ports (15000 to 15199), which a gateway has for itself
	size   = 32     // ports of a block
	blocks = 125
)

// blocked are the ports of this process that have not been given. Whoever listens at a
// block's first port owns the block; guards holds those listeners.
var blocked struct {
	sync.Mutex
	ports  []uint16
	guards []net.Listener
}

// Port finds a port that is free at all addresses, another one each time, and none that
// another process was given.
func Port(t testing.TB) uint16 {
	t.Helper()
	blocked.Lock()
	defer blocked.Unlock()
	for {
		if len(blocked.ports) == 0 && !take() {
			t.Fatal("no port is free")
		}
		port := blocked.ports[0]
		blocked.ports = blocked.ports[1:]
		if l, err := listen(port); err == nil {
			l.Close()
			return port
		}
	}
}

// take makes another block this process's.
func take() bool {
	for range 10 * blocks {
		port := first + size*uint16(rand.IntN(blocks)) //nolint:gosec // no secret
		guard, err := listen(port)
		if err != nil {
			continue
		}
		blocked.guards = append(blocked.guards, guard)
		for p := port + 1; p < port+size; p++ {
			blocked.ports = append(blocked.ports, p)
		}
		return true
	}
	return false
}

func listen(port uint16) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf(":%d", port))
}

// Addr is such a port at the loopback address, "127.0.0.1:12345".
func Addr(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Port(t))
}
