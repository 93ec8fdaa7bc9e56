package serve

import (
	"testing"
	"testing/synctest"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/wire"
)

// worldConsumer drives a state-of-the-world stream by hand and notes what came.
type worldConsumer struct {
	t     *testing.T
	w     *world
	s     *State
	got   []string
	nonce map[string]string
	names map[string][]string
}

func newWorldConsumer(t *testing.T, s *State) *worldConsumer {
	c := &worldConsumer{t: t, s: s, nonce: map[string]string{}, names: map[string][]string{}}
	c.w = newWorld(&recorder{}, func(raw *response) error {
		r := read(t, raw, &discoverypb.DiscoveryResponse{})
		line := short(r.TypeUrl)
		for _, x := range r.Resources {
			line += " " + string(x.Value)
		}
		c.got = append(c.got, line)
		c.nonce[short(r.TypeUrl)] = r.Nonce
		return nil
	})
	return c
}

// ask asks for names of a type, or answers what came of it.
func (c *worldConsumer) ask(typ string, names ...string) {
	c.t.Helper()
	if names != nil {
		c.names[typ] = names
	}
	r := &discoverypb.DiscoveryRequest{TypeUrl: urls[typ], ResourceNames: c.names[typ], ResponseNonce: c.nonce[typ]}
	c.w.know(c.s)
	if err := c.w.request(r); err != nil {
		c.t.Fatal(err)
	}
	c.pump()
}

func (c *worldConsumer) pump() {
	c.t.Helper()
	if err := c.w.pump(c.s); err != nil {
		c.t.Fatal(err)
	}
}

// sent compares what came since the last look.
func (c *worldConsumer) sent(want ...string) {
	c.t.Helper()
	if d := cmp.Diff(want, c.got); d != "" {
		c.t.Fatalf("sent (-want +got):\n%s", d)
	}
	c.got = nil
}

// TestWorldRemovesLast: a cluster that is gone stays with who asks for it until its
// routes are new and it has had time to ask for it no more.
func TestWorldRemovesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorldConsumer(t, state(1, "CDS a=a1 b=b1; RDS r=ra"))
		c.ask("CDS", "a", "b")
		c.sent("CDS a1 b1")
		c.ask("CDS")
		c.ask("RDS", "r")
		c.sent("RDS ra")
		c.ask("RDS")
		c.s = state(2, "CDS b=b1; RDS r=rb")
		c.pump()
		c.sent("RDS rb") // a is gone, and not yet
		c.ask("RDS")
		c.sent()
		time.Sleep(keepRemoved + time.Millisecond)
		<-c.w.timer()
		c.pump()
		c.sent("CDS b1")
		c.ask("CDS")

		// Who asks for it no more is not told.
		c.s = state(3, "RDS r=rc")
		c.pump()
		c.sent("RDS rc")
		c.ask("RDS")
		c.ask("CDS", "none")
		c.sent("CDS")
	})
}

// TestWorldBetween: what lies between goes first, and what comes next when the consumer
// has been silent for a while, having answered.
func TestWorldBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		between := func(url string, held, next *resource.Resource) *resource.Resource {
			if url != wire.TypeRoute || held.Version == "bridge" {
				return nil
			}
			return resource.New(url, next.Name, "bridge", []byte("bridge"))
		}
		at := func(version uint64, spec string) *State {
			s := state(version, spec)
			s.Between = between
			return s
		}
		c := newWorldConsumer(t, at(1, "CDS a=a1; RDS r=r1"))
		c.ask("RDS", "r")
		c.sent("RDS r1") // nothing lies before the first
		c.ask("RDS")
		c.s = at(2, "CDS a=a1 b=b1; RDS r=r2")
		c.pump()
		c.sent("RDS bridge")
		c.ask("RDS")
		c.ask("CDS", "b")
		c.sent("CDS b1")
		time.Sleep(settleTime + time.Millisecond)
		<-c.w.timer()
		c.pump()
		c.sent() // the cluster is not answered
		c.ask("CDS")
		time.Sleep(settleTime + time.Millisecond)
		<-c.w.timer()
		c.pump()
		c.sent("RDS r2")
		c.ask("RDS")

		// Who never answers is not kept from what comes next for ever.
		c.s = at(3, "CDS a=a1 b=b1; RDS r=r3")
		c.pump()
		c.sent("RDS bridge")
		c.ask("RDS")
		c.ask("CDS", "a", "b")
		c.sent("CDS a1 b1")
		time.Sleep(crossTime + time.Millisecond)
		c.pump()
		c.sent("RDS r3")
	})
}
