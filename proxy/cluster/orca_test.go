package cluster

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/orca"

	"github.com/weftmesh/weft/proxy/transport"
)

// TestOutOfBandLoad asks grpc-go's own service for the load of two hosts.
func TestOutOfBandLoad(t *testing.T) {
	e := &Endpoints{Localities: []Locality{{}}}
	for _, qps := range []float64{100, 700} {
		rec := orca.NewServerMetricsRecorder()
		rec.SetQPS(qps)
		rec.SetApplicationUtilization(0.5)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		if err := orca.Register(s, orca.ServiceOptions{ServerMetricsProvider: rec, MinReportingInterval: orcaTestInterval}); err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = s.Serve(l)
		}()
		t.Cleanup(func() {
			s.Stop()
			<-served
		})
		e.Localities[0].Endpoints = append(e.Localities[0].Endpoints, Endpoint{Addr: netip.MustParseAddrPort(l.Addr().String())})
	}
	m := NewManager(t.Context(), Options{Dialer: transport.Direct{}})
	load := &LoadWeights{Expiration: time.Minute, Update: 10 * time.Millisecond, OutOfBand: &OutOfBand{Interval: time.Second, Authority: "a.example"}}
	if err := m.Update([]*Spec{{Name: "c", Endpoints: e, LB: LB{Load: load}}}, nil); err != nil {
		t.Fatal(err)
	}
	stop := run(t, m)
	c := m.Get("c")
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(60 * time.Second)
	for {
		if w := hostWeights(c); w[0] == 200 && w[1] == 1400 {
			break
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("weights are %v, want 200 and 1400", hostWeights(c))
		}
	}
	for h := range c.Hosts {
		if h.WantsLoad() {
			t.Error("reports are out of band, and responses are looked at for them")
		}
	}
	stop()
}

const orcaTestInterval = 30 * time.Second
