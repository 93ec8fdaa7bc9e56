package serve

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/wire"
)

// read takes a response apart as a consumer does.
func read[M proto.Message](t testing.TB, r *response, into M) M {
	t.Helper()
	if err := proto.Unmarshal(r.body.Materialize(), into); err != nil {
		t.Fatal(err)
	}
	return into
}

// recorder is a Session that keeps reports.
type recorder struct{ reports []Report }

func (r *recorder) State(context.Context) (*State, <-chan struct{}, error) { return nil, nil, nil }
func (r *recorder) Report(x Report)                                        { r.reports = append(r.reports, x) }
func (r *recorder) Close()                                                 {}

// state makes a State: "CDS a=1 b=2; EDS a=1".
func state(version uint64, spec string) *State {
	s := &State{Version: version, Sets: map[string]*resource.Set{}}
	for part := range strings.SplitSeq(spec, ";") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		var list []*resource.Resource
		for _, w := range words[1:] {
			name, v, _ := strings.Cut(w, "=")
			list = append(list, resource.New(urls[words[0]], name, v, []byte(v)))
		}
		s.Sets[urls[words[0]]] = resource.NewSet(list)
	}
	return s
}

var urls = map[string]string{
	"CDS": wire.TypeCluster, "EDS": wire.TypeEndpoint, "LDS": wire.TypeListener, "RDS": wire.TypeRoute,
}

func short(url string) string {
	for k, v := range urls {
		if v == url {
			return k
		}
	}
	return url
}

// consumer drives a delta stream by hand and notes what came.
type consumer struct {
	t    *testing.T
	d    *delta
	s    *State
	rec  *recorder
	got  []string
	last map[string]string // nonce by type
}

func newConsumer(t *testing.T) *consumer {
	c := &consumer{t: t, rec: &recorder{}, last: map[string]string{}}
	c.d = newDelta(c.rec, func(raw *response) error {
		r := read(t, raw, &discoverypb.DeltaDiscoveryResponse{})
		line := short(r.TypeUrl)
		for _, x := range r.Resources {
			line += " " + x.Name + "=" + x.Version
			if string(x.Resource.GetValue()) != x.Version || x.Resource.GetTypeUrl() != r.TypeUrl {
				t.Errorf("%s has the body %v", x.Name, x.Resource)
			}
		}
		for _, x := range r.RemovedResources {
			line += " -" + x
		}
		c.got = append(c.got, line)
		c.last[short(r.TypeUrl)] = r.Nonce
		return nil
	})
	return c
}

func (c *consumer) set(s *State) *consumer {
	c.s = s
	return c.pump()
}

func (c *consumer) pump() *consumer {
	c.t.Helper()
	if err := c.d.pump(c.s); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// ask subscribes; "" is a wildcard.
func (c *consumer) ask(typ string, names ...string) *consumer {
	return c.request(&discoverypb.DeltaDiscoveryRequest{TypeUrl: urls[typ], ResourceNamesSubscribe: names})
}

func (c *consumer) ack(typ string) *consumer {
	return c.request(&discoverypb.DeltaDiscoveryRequest{TypeUrl: urls[typ], ResponseNonce: c.last[typ]})
}

func (c *consumer) nack(typ, why string) *consumer {
	return c.request(&discoverypb.DeltaDiscoveryRequest{
		TypeUrl: urls[typ], ResponseNonce: c.last[typ], ErrorDetail: &statuspb.Status{Message: why},
	})
}

func (c *consumer) request(r *discoverypb.DeltaDiscoveryRequest) *consumer {
	c.t.Helper()
	if err := c.d.request(r); err != nil {
		c.t.Fatal(err)
	}
	return c.pump()
}

// want compares what came since the last call.
func (c *consumer) want(lines ...string) *consumer {
	c.t.Helper()
	if diff := cmp.Diff(lines, c.got); diff != "" {
		c.t.Fatalf("sent (-want +got):\n%s", diff)
	}
	c.got = nil
	return c
}

func TestDeltaSendsOnlyWhatChanged(t *testing.T) {
	c := newConsumer(t)
	c.s = state(1, "CDS a=1 b=1")
	c.ask("CDS").want("CDS a=1 b=1")
	c.ack("CDS").want()
	c.set(state(2, "CDS a=1 b=2 c=1")).want("CDS b=2 c=1")
	c.set(state(3, "CDS a=1 b=3")).want() // unanswered: wait
	c.ack("CDS").want("CDS b=3 -c")
	c.ack("CDS").want()
}

func TestDeltaAnswersAnEmptyWildcard(t *testing.T) {
	c := newConsumer(t)
	c.s = state(1, "")
	c.ask("LDS").want("LDS")
}

func TestDeltaAnswersNamesThatDoNotExist(t *testing.T) {
	c := newConsumer(t)
	c.s = state(1, "RDS r=1")
	c.ask("RDS", "r", "ghost").want("RDS r=1 -ghost")
	c.ack("RDS").want()
	c.set(state(2, "RDS r=1 ghost=1")).want("RDS ghost=1")
	c.ack("RDS")
	c.set(state(3, "RDS r=1")).want("RDS -ghost")
}

func TestDeltaResubscribeSendsAgain(t *testing.T) {
	c := newConsumer(t)
	c.s = state(1, "RDS r=1 q=1")
	c.ask("RDS", "r").want("RDS r=1")
	c.ack("RDS").ask("RDS", "r").want("RDS r=1")
	c.ack("RDS")
	c.request(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeRoute, ResourceNamesUnsubscribe: []string{"r"}})
	c.set(state(2, "RDS r=2 q=1")).want()
}

func TestDeltaResumesByVersion(t *testing.T) {
	c := newConsumer(t)
	c.s = state(7, "CDS a=1 b=2; EDS a=1 b=1")
	c.request(&discoverypb.DeltaDiscoveryRequest{
		TypeUrl: wire.TypeCluster, InitialResourceVersions: map[string]string{"a": "1", "b": "1", "gone": "1"},
	}).want("CDS b=2 -gone")
	c.request(&discoverypb.DeltaDiscoveryRequest{
		TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: []string{"a", "b"},
		InitialResourceVersions: map[string]string{"a": "1", "b": "1"},
	}).want()
}

func TestDeltaKeepsQuietAfterANack(t *testing.T) {
	c := newConsumer(t)
	c.s = state(1, "LDS l=1")
	c.ask("LDS").want("LDS l=1")
	c.nack("LDS", "listener l: field x").want()
	c.set(state(2, "LDS l=2")).want("LDS l=2")
	i := slices.IndexFunc(c.rec.reports, func(r Report) bool { return r.Kind == Rejected })
	if i < 0 || c.rec.reports[i].Error != "listener l: field x" || !slices.Equal(c.rec.reports[i].Names, []string{"l"}) {
		t.Errorf("the rejection was reported as %+v", c.rec.reports)
	}
}

func TestDeltaIgnoresStaleNonces(t *testing.T) {
	c := newConsumer(t)
	c.s = state(1, "LDS l=1")
	c.ask("LDS").want("LDS l=1")
	c.last["LDS"] = "999"
	c.ack("LDS")
	c.set(state(2, "LDS l=2")).want()
}

func TestDeltaMakesBeforeItBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t)
		c.s = state(1, "CDS old=1; EDS old=1; LDS l=1; RDS r=1")
		c.ask("CDS").want("CDS old=1")
		c.ack("CDS").ask("EDS", "old").want("EDS old=1")
		c.ack("EDS").ask("LDS").want("LDS l=1")
		c.ack("LDS").ask("RDS", "r").want("RDS r=1")
		c.ack("RDS").want()

		// The route moves from the old cluster to a new one.
		c.set(state(2, "CDS new=1; EDS new=1; LDS l=1; RDS r=2")).want("CDS new=1")
		c.ack("CDS").want() // the route waits for the endpoints
		c.ask("EDS", "new").want("EDS new=1")
		c.ack("EDS").want("RDS r=2")              // now the route
		c.ack("RDS").want("CDS -old", "EDS -old") // and last what it left
	})
}

func TestDeltaHoldsRoutesOnlyForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t)
		c.s = state(1, "RDS r=1")
		c.ask("CDS").ack("CDS").ask("RDS", "r").ack("RDS")
		c.got = nil
		c.set(state(2, "CDS new=1; EDS new=1; RDS r=2")).want("CDS new=1")
		c.ack("CDS").want()
		time.Sleep(holdRoutes)
		synctest.Wait()
		select {
		case <-c.d.timer():
		default:
			t.Fatal("nothing woke the stream")
		}
		c.pump().want("RDS r=2")
	})
}

func TestDeltaRenewsEndpointsOfChangedClusters(t *testing.T) {
	c := newConsumer(t)
	c.s = state(1, "CDS a=1; EDS a=1")
	c.ask("CDS").ack("CDS").ask("EDS", "a").ack("EDS")
	c.got = nil
	c.set(state(2, "CDS a=2; EDS a=1")).want("CDS a=2", "EDS a=1")
}

func TestDeltaReportsWhenSettled(t *testing.T) {
	c := newConsumer(t)
	c.s = state(5, "CDS a=1")
	settled := func() bool {
		return slices.ContainsFunc(c.rec.reports, func(r Report) bool { return r.Kind == Settled && r.Version == 5 })
	}
	if c.ask("CDS"); settled() {
		t.Error("settled before the answer")
	}
	if c.ack("CDS"); !settled() {
		t.Error("not settled after the answer")
	}
}

func TestWorld(t *testing.T) {
	var got []string
	nonce := map[string]string{}
	rec := &recorder{}
	w := newWorld(rec, func(raw *response) error {
		r := read(t, raw, &discoverypb.DiscoveryResponse{})
		line := short(r.TypeUrl)
		for _, x := range r.Resources {
			line += " " + string(x.Value)
		}
		got = append(got, line)
		nonce[short(r.TypeUrl)] = r.Nonce
		return nil
	})
	s := state(1, "CDS a=a1 b=b1; EDS a=e1 b=e1")
	step := func(r *discoverypb.DiscoveryRequest, want ...string) {
		t.Helper()
		if r != nil {
			if err := w.request(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.pump(s); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("sent (-want +got):\n%s", diff)
		}
		got = nil
	}
	step(&discoverypb.DiscoveryRequest{TypeUrl: wire.TypeCluster}, "CDS a1 b1")
	step(&discoverypb.DiscoveryRequest{TypeUrl: wire.TypeCluster, ResponseNonce: nonce["CDS"], VersionInfo: "1"})
	step(&discoverypb.DiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNames: []string{"b"}}, "EDS e1")
	step(&discoverypb.DiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNames: []string{"b"}, ResponseNonce: nonce["EDS"]})
	s = state(2, "CDS a=a1 b=b1; EDS a=e2 b=e1")
	step(nil) // nothing that was asked for has changed
	step(&discoverypb.DiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNames: []string{"b", "a"}, ResponseNonce: nonce["EDS"]}, "EDS e2 e1")
	step(&discoverypb.DiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNames: []string{"b", "a"}, ResponseNonce: nonce["EDS"]})
	// What is asked for by name comes alone when it changes, from a set of which it is
	// known what has, and of one of which it is not.
	layer := resource.NewLayer(s.Set(wire.TypeEndpoint).List())
	at := func(version uint64) *State {
		return &State{Version: version, Sets: map[string]*resource.Set{
			wire.TypeCluster: s.Set(wire.TypeCluster), wire.TypeEndpoint: resource.Compose(layer, nil),
		}}
	}
	ack := func() *discoverypb.DiscoveryRequest {
		return &discoverypb.DiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNames: []string{"a", "b"}, ResponseNonce: nonce["EDS"]}
	}
	put := func(name, version string) {
		layer = layer.With([]*resource.Resource{resource.New(wire.TypeEndpoint, name, version, []byte(version))}, nil)
	}
	s = at(3)
	step(nil)
	put("b", "e3")
	put("c", "e9")
	s = at(4)
	step(nil, "EDS e3")
	step(ack())
	put("a", "e4")
	layer = layer.With(nil, []string{"b"})
	s = at(5)
	step(nil, "EDS e4")
	step(ack())
	put("b", "e3") // it is back, as it was
	s = at(6)
	step(nil, "EDS e3")
	step(ack())
	layer = resource.NewLayer(layer.List())
	s = at(7)
	step(nil)
	if len(rec.reports) == 0 {
		t.Error("nothing was reported")
	}
}

func BenchmarkDeltaPumpUnchanged(b *testing.B) {
	var spec strings.Builder
	spec.WriteString("CDS")
	for i := range 1000 {
		fmt.Fprintf(&spec, " c%d=1", i)
	}
	s := state(1, spec.String())
	d := newDelta(&recorder{}, func(*response) error { return nil })
	_ = d.request(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeCluster})
	_ = d.pump(s)
	d.of(wire.TypeCluster).pending = nil
	for b.Loop() {
		_ = d.pump(s)
	}
}
