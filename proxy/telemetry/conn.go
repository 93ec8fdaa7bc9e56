package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/proxy/filter"
)

// connKey tells TCP connections apart.
type connKey struct {
	outbound bool
	mtls     bool
	flags    filter.ResponseFlags
	peer     *Peer
	peerURI  string
	service  filter.ServiceRef
	workload filter.WorkloadRef
}

type connSeries struct{ opened, closed, sent, received atomic.Uint64 }

func newConnSeries(connKey) *connSeries { return &connSeries{} }

func (m *Metrics) conn(i *filter.ConnInfo) *connSeries {
	k := connKey{outbound: i.Outbound, service: i.Upstream.Service, flags: i.Flags}
	if i.Outbound {
		k.workload, k.peerURI = i.Upstream.Workload, i.Upstream.PeerURI
		if k.workload == (filter.WorkloadRef{}) && i.Upstream.Host.IsValid() {
			k.peer = m.peers.Lookup(i.Upstream.Host.Addr())
		}
	} else {
		k.mtls = i.PeerURI != ""
		k.peerURI = i.PeerURI
		k.peer = m.peers.Lookup(i.Remote.Addr())
	}
	return m.conns.get(k, newConnSeries)
}

// ConnOpened counts a TCP connection whose upstream is connected, when its
// chain has the stats filter.
func (m *Metrics) ConnOpened(i *filter.ConnInfo) {
	if i.Counted {
		m.conn(i).opened.Add(1)
	}
}

// ConnClosed counts a TCP connection that has ended, and its bytes. One that
// was opened has no flags then, or was never counted as opened.
func (m *Metrics) ConnClosed(i *filter.ConnInfo) {
	if !i.Counted {
		return
	}
	s := m.conn(i)
	s.closed.Add(1)
	s.received.Add(i.Received)
	s.sent.Add(i.Sent)
}

// connLabels are requestLabels without those of HTTP.
var connLabels = append(append([]string{}, requestLabels[:20]...), "request_protocol", "response_flags", "connection_security_policy")

var (
	openedDesc   = desc("istio_tcp_connections_opened_total", "TCP connections opened.", connLabels)
	closedDesc   = desc("istio_tcp_connections_closed_total", "TCP connections closed.", connLabels)
	sentDesc     = desc("istio_tcp_sent_bytes_total", "Bytes sent to clients of TCP connections.", connLabels)
	receivedDesc = desc("istio_tcp_received_bytes_total", "Bytes received from clients of TCP connections.", connLabels)
)

func (m *Metrics) collectConn(out chan<- prometheus.Metric, k connKey, s *connSeries) {
	labels := m.sides(k.outbound, k.peer, k.peerURI, k.service, k.workload)
	labels = append(labels, "tcp", k.flags.String(), policy(k.outbound, k.mtls))
	for _, c := range []struct {
		d *prometheus.Desc
		v uint64
	}{{openedDesc, s.opened.Load()}, {closedDesc, s.closed.Load()}, {sentDesc, s.sent.Load()}, {receivedDesc, s.received.Load()}} {
		out <- prometheus.MustNewConstMetric(c.d, prometheus.CounterValue, float64(c.v), labels...)
	}
}
