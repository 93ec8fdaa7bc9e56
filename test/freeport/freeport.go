// Package freeport finds TCP ports for tests. They are below those that the system gives
// away, so that nobody's outgoing connection takes one between the finding and the
// listening; none is given twice in a process. Two processes may still be given the same.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Below the range of ephemeral ports, which begins at 32768 (ip_local_port_range).
const (
	first = 16_000 // above Istio's ports (15000 to 15199), which a gateway has for itself
	many  = 16_000
)

var given sync.Map // ports that Port has returned

// Port finds a port that is free at all addresses, another one each time.
func Port(t testing.TB) uint16 {
	t.Helper()
	for range 10_000 {
		port := uint16(first + rand.IntN(many)) //nolint:gosec // no secret
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		l.Close()
		if _, twice := given.LoadOrStore(port, true); !twice {
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// Addr is such a port at the loopback address, "127.0.0.1:12345".
func Addr(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", Port(t))
}
