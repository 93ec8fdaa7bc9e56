package telemetry

import (
	"cmp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// connKey tells TCP connections apart.
type connKey struct {
	set      *settings
	values   string
	outbound bool
	mtls     bool
	flags    filter.ResponseFlags
	peer     *Peer
	peerURI  string
	service  filter.ServiceRef
	workload filter.WorkloadRef // the other side, as far as it is known
}

type connSeries struct{ opened, closed, sent, received atomic.Uint64 }

func newConnSeries(connKey) *connSeries { return &connSeries{} }

func (m *Metrics) conn(i *filter.ConnInfo) *connSeries {
	set := m.settingsOf(i)
	u := &i.Upstream
	k := connKey{set: set, outbound: i.Outbound, service: u.Service, flags: i.Flags}
	if k.service.Host == "" {
		k.service.Name = cmp.Or(k.service.Name, passing(u.Cluster))
	}
	if len(set.expressions) > 0 {
		k.values = set.evaluate(&filter.Info{
			Conn: i, Start: i.Start, Duration: i.Duration, Remote: i.Remote, Upstream: i.Upstream, Flags: i.Flags,
			Received: i.Received, Sent: i.Sent, Metadata: i.Metadata,
		})
	}
	switch {
	case i.Outbound && !set.waypoint:
		k.workload, k.peerURI = server(u), u.PeerURI
		if k.workload == (filter.WorkloadRef{}) && u.Host.IsValid() {
			k.peer = m.peers.Lookup(u.Host.Addr())
		}
	default:
		k.mtls = i.PeerURI != ""
		k.peerURI = i.PeerURI
		if i.Peer != nil {
			k.workload = i.Peer.WorkloadRef
		} else {
			k.peer = m.peers.Lookup(i.Remote.Addr())
		}
		if set.waypoint {
			k.values = withServer(k.values, server(u))
		}
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
	s.received.Add(i.Received - i.Reported.Received)
	s.sent.Add(i.Sent - i.Reported.Sent)
}

// Every is how often a connection that lasts is reported.
func (m *Metrics) Every(i *filter.ConnInfo) time.Duration {
	if !i.Counted {
		return 0
	}
	return m.settingsOf(i).every
}

// ConnProgress counts bytes of a connection that lasts.
func (m *Metrics) ConnProgress(i *filter.ConnInfo, received, sent uint64) {
	if !i.Counted {
		return
	}
	s := m.conn(i)
	s.received.Add(received)
	s.sent.Add(sent)
}

// settingsOf are those of the filter that counts a connection.
func (m *Metrics) settingsOf(i *filter.ConnInfo) *settings {
	if set, ok := i.CountedAs.(*settings); ok && set != nil {
		return set
	}
	return m.standard
}

// connLabels are requestLabels without those of HTTP.
var connLabels = append(append([]string{}, requestLabels[:20]...), "request_protocol", "response_flags", "connection_security_policy")

func (m *Metrics) collectConn(out merger, k connKey, s *connSeries) {
	labels := m.sides(side{outbound: k.outbound, waypoint: k.set.waypoint, peer: k.peer, uri: k.peerURI, service: k.service, workload: k.workload, server: before(k.set, k.values)})
	labels = append(labels, "tcp", k.flags.String(), policy(k.outbound && !k.set.waypoint, k.mtls))
	at := seriesOf{out, k.set, labels, strings.Split(k.values, separator)}
	at.counter("tcp_connections_opened_total", s.opened.Load())
	at.counter("tcp_connections_closed_total", s.closed.Load())
	at.counter("tcp_sent_bytes_total", s.sent.Load())
	at.counter("tcp_received_bytes_total", s.received.Load())
}
