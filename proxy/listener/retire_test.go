package listener

import (
	"net"
	"testing"
	"time"
)

// TestRetire: nothing is accepted any more, and nothing is cut: neither what is
// open, nor what has been accepted and is still being looked at.
func TestRetire(t *testing.T) {
	m := start(t, Options{DrainTime: time.Nanosecond})
	addr := freePort(t)
	g := newGreeter("a")
	// The choice depends on the first bytes, so that the second connection waits.
	l := tcpListener("a", addr, &FilterChain{Name: "tls", Version: "1", Match: Match{TransportProtocol: ProtoTLS}, Terminal: newGreeter("tls")}, &FilterChain{Name: "a", Version: "1", Terminal: g})
	l.Inspectors = []Inspector{{Kind: TLSInspector}}
	setAll(t, m, l)
	open, silent := dial(t, tcp(addr)), dial(t, tcp(addr))
	open.say("x\n")
	if got := open.line(); got != "a" {
		t.Fatalf("greeting %q", got)
	}
	open.line() // the echo of x
	// Busy would not tell: a connection that has just been handed on counts twice for a moment.
	for st, end := m.All()[0].Stats, time.Now().Add(patience); st.PreActive.Load() < 1 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	m.Retire(nil)
	<-g.drained
	if _, err := net.Dial("tcp", addr.String()); err == nil {
		t.Error("it accepts")
	}
	setAll(t, m, l) // must not open the socket again
	if _, err := net.Dial("tcp", addr.String()); err == nil {
		t.Error("it accepts again after an update")
	}
	silent.say("y\n")
	if got := silent.line(); got != "a" {
		t.Errorf("a connection that had been accepted got %q", got)
	}
	open.say("z\n")
	if got := open.line(); got != "z" {
		t.Errorf("a connection that was open got %q", got)
	}
	if first, second := <-g.infos, <-g.infos; first.Leaving || !second.Leaving {
		t.Errorf("served as leaving: one before %v, one after %v", first.Leaving, second.Leaving)
	}
	for end := time.Now().Add(patience); m.Busy() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := m.Busy(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
