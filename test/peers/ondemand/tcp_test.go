package ondemand

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/wire"
)

// tcpListener sets the one listener: tcp_proxy with more fields.
func (w *world) tcpListener(fields string) {
	w.t.Helper()
	host, port, _ := net.SplitHostPort(w.addr)
	w.Set(wire.TypeListener, "l", message(w.t, fmt.Sprintf(`
name: l
address: {socket_address: {address: %s, port_value: %s}}
filter_chains:
- filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
      stat_prefix: x
      %s
`, host, port, fields), &listenerv3.Listener{}))
}

const tcpOnDemand = "on_demand: {odcds_config: {ads: {}, resource_api_version: V3}, timeout: %s}"

// tcpStats are the statistics of tcp_proxy that tell how it found its cluster.
const tcpStats = `^tcp\.x\.(on_demand_cluster_.*|downstream_cx_(total|no_route))$`

// connect opens a connection and leaves it when it is closed, with how it ended.
func (w *world) connect() string {
	nc, err := net.DialTimeout("tcp", w.addr, limit)
	if err != nil {
		return "no connection"
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(limit))
	n, err := io.Copy(io.Discard, nc)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		return "open"
	}
	return fmt.Sprintf("closed after %d bytes", n)
}

// TestTCPOnDemand: connections ask for their cluster, which comes, is known the
// next time, or is not there; and how that is counted.
func TestTCPOnDemand(t *testing.T) {
	both(t, func(w *world) {
		w.tcpListener("cluster: a\n      " + fmt.Sprintf(tcpOnDemand, "10s"))
		w.cluster("a")
		w.listen()
		w.start()
		w.sayStats(tcpStats)
		w.say("%s", w.get("h", "/cold"))
		w.sayStats(tcpStats)
		w.say("%s", w.get("h", "/warm"))
		w.say("clusters %v", w.asked(wire.TypeCluster))
		w.sayStats(tcpStats)
	},
		"tcp.x.downstream_cx_no_route: 0", "tcp.x.downstream_cx_total: 0",
		"tcp.x.on_demand_cluster_attempt: 0", "tcp.x.on_demand_cluster_missing: 0",
		"tcp.x.on_demand_cluster_success: 0", "tcp.x.on_demand_cluster_timeout: 0",
		"200 GET h /cold 0",
		"tcp.x.downstream_cx_no_route: 0", "tcp.x.downstream_cx_total: 1",
		"tcp.x.on_demand_cluster_attempt: 1", "tcp.x.on_demand_cluster_missing: 0",
		"tcp.x.on_demand_cluster_success: 1", "tcp.x.on_demand_cluster_timeout: 0",
		"200 GET h /warm 0",
		"clusters [* a]",
		"tcp.x.downstream_cx_no_route: 0", "tcp.x.downstream_cx_total: 2",
		"tcp.x.on_demand_cluster_attempt: 1", "tcp.x.on_demand_cluster_missing: 0",
		"tcp.x.on_demand_cluster_success: 1", "tcp.x.on_demand_cluster_timeout: 0",
	)
}

// TestTCPMissing: the control plane says that there is no such cluster.
func TestTCPMissing(t *testing.T) {
	both(t, func(w *world) {
		w.tcpListener("cluster: none\n      " + fmt.Sprintf(tcpOnDemand, "10s"))
		w.listen()
		w.start()
		w.say("%s", w.connect())
		w.sayStats(tcpStats)
	},
		"closed after 0 bytes",
		"tcp.x.downstream_cx_no_route: 1", "tcp.x.downstream_cx_total: 1",
		"tcp.x.on_demand_cluster_attempt: 1", "tcp.x.on_demand_cluster_missing: 1",
		"tcp.x.on_demand_cluster_success: 0", "tcp.x.on_demand_cluster_timeout: 0",
	)
}

// TestTCPUnanswered: nobody answers in time.
func TestTCPUnanswered(t *testing.T) {
	both(t, func(w *world) {
		w.tcpListener("cluster: a\n      " + fmt.Sprintf(tcpOnDemand, "0.3s"))
		w.Mute(wire.TypeCluster)
		w.listen()
		w.start()
		w.say("%s", w.connect())
		w.sayStats(tcpStats)
	},
		"closed after 0 bytes",
		"tcp.x.downstream_cx_no_route: 1", "tcp.x.downstream_cx_total: 1",
		"tcp.x.on_demand_cluster_attempt: 1", "tcp.x.on_demand_cluster_missing: 0",
		"tcp.x.on_demand_cluster_success: 0", "tcp.x.on_demand_cluster_timeout: 1",
	)
}

// TestTCPNoRoute: without on_demand a cluster that is not there is no route.
func TestTCPNoRoute(t *testing.T) {
	both(t, func(w *world) {
		w.tcpListener("cluster: none")
		w.listen()
		w.start()
		w.say("%s", w.connect())
		w.sayStats(tcpStats)
	}, "closed after 0 bytes", "tcp.x.downstream_cx_no_route: 1", "tcp.x.downstream_cx_total: 1")
}
