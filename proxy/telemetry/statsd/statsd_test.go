package statsd

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFlush: what a server gets, flush by flush.
func TestFlush(t *testing.T) {
	first := []Metric{
		{Scope: "cluster", Name: "a|80", Stat: "upstream_rq_total", Value: 3, Tag: "envoy.cluster_name"},
		{Scope: "cluster", Name: "a|80", Stat: "upstream_rq_active", Value: 2, Gauge: true, Tag: "envoy.cluster_name"},
		{Scope: "server", Stat: "live", Value: 1, Gauge: true}, {Scope: "server", Stat: "never", Value: 0},
	}
	second := []Metric{
		{Scope: "cluster", Name: "a|80", Stat: "upstream_rq_total", Value: 5, Tag: "envoy.cluster_name"},
		{Scope: "cluster", Name: "a|80", Stat: "upstream_rq_active", Gauge: true, Tag: "envoy.cluster_name"},
	}
	for name, c := range map[string]struct {
		sink Sink
		want []string
	}{
		"statsd": {Sink{}, []string{
			"envoy.cluster.a_80.upstream_rq_total:3|c", "envoy.cluster.a_80.upstream_rq_active:2|g", "envoy.server.live:1|g",
			"envoy.cluster.a_80.upstream_rq_total:2|c", "envoy.cluster.a_80.upstream_rq_active:0|g",
		}},
		"tags": {Sink{Prefix: "p", Tags: true}, []string{
			"p.cluster.upstream_rq_total:3|c|#envoy.cluster_name:a|80", "p.cluster.upstream_rq_active:2|g|#envoy.cluster_name:a|80", "p.server.live:1|g",
			"p.cluster.upstream_rq_total:2|c|#envoy.cluster_name:a|80", "p.cluster.upstream_rq_active:0|g|#envoy.cluster_name:a|80",
		}},
		"together": {Sink{MaxDatagram: 80}, []string{
			"envoy.cluster.a_80.upstream_rq_total:3|c", "envoy.cluster.a_80.upstream_rq_active:2|g\nenvoy.server.live:1|g",
			"envoy.cluster.a_80.upstream_rq_total:2|c", "envoy.cluster.a_80.upstream_rq_active:0|g",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			c.sink.Address = server.LocalAddr().(*net.UDPAddr).AddrPort()
			s, err := New(t.Context(), c.sink)
			if err != nil {
				t.Fatal(err)
			}
			defer s.conn.Close()
			for _, list := range [][]Metric{first, first, second} { // what is as it was: gauges only
				s.Flush(func(visit func(Metric)) {
					for _, m := range list {
						visit(m)
					}
				})
			}
			var got []string
			_ = server.SetReadDeadline(time.Now().Add(60 * time.Second))
			for b := make([]byte, 1000); len(got) == 0 || got[len(got)-1] != c.want[len(c.want)-1]; {
				n, err := server.Read(b)
				if err != nil {
					t.Fatal(err, got)
				}
				got = append(got, string(b[:n]))
			}
			if d := cmp.Diff(c.want, changed(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// changed leaves out what is said a second time: gauges that are as they were.
func changed(list []string) (out []string) {
	seen := map[string]bool{}
	for _, l := range list {
		if !seen[l] {
			out = append(out, l)
		}
		seen[l] = true
	}
	return out
}
