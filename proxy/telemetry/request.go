package telemetry

import (
	"cmp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/proxy/filter"
)

// Values of the label request_protocol; a protocol of messages has its own name.
const (
	protoHTTP = "http"
	protoGRPC = "grpc"
)

// protocolOf is a request's protocol for the label.
func protocolOf(i *filter.Info) string {
	switch {
	case i.GRPC:
		return protoGRPC
	case i.Protocol == "" || strings.HasPrefix(i.Protocol, "HTTP/"):
		return protoHTTP
	}
	return i.Protocol
}

// requestKey tells requests apart. Strings in it come from the configuration or
// the connection, not from a request's memory.
type requestKey struct {
	set *settings
	// values of the settings' expressions; of a waypoint also who it stands before.
	values   string
	outbound bool
	mtls     bool
	proto    string
	grpc     int8 // gRPC status, -1 none
	code     uint16
	flags    filter.ResponseFlags
	peer     *Peer // the other side, where only its address is known
	// peerURI is the other side's identity.
	peerURI  string
	service  filter.ServiceRef
	workload filter.WorkloadRef // the other side, as far as it is known
}

// requestSeries is what is counted per key.
type requestSeries struct {
	total              atomic.Uint64
	duration           histogram
	reqBytes, resBytes histogram
	reqMsgs, resMsgs   atomic.Uint64
}

func newRequestSeries(requestKey) *requestSeries {
	return &requestSeries{
		duration: newHistogram(defaultBounds), reqBytes: newHistogram(defaultBounds), resBytes: newHistogram(defaultBounds),
	}
}

// Request counts a request that has ended, as the mesh's standard settings say.
// outbound tells which side of it the proxy is on.
func (m *Metrics) Request(i *filter.Info, outbound bool) { m.request(i, outbound, m.standard) }

func (m *Metrics) request(i *filter.Info, outbound bool, set *settings) {
	k := requestKey{set: set, values: set.evaluate(i), outbound: outbound, code: uint16(i.Status), flags: i.Flags, grpc: -1}
	k.service = destination(i)
	k.proto = protocolOf(i)
	if i.GRPC {
		k.grpc = grpcStatus(i)
	}
	u := &i.Upstream
	switch {
	case outbound && !set.waypoint:
		k.workload, k.peerURI = server(u), u.PeerURI
		if k.workload == (filter.WorkloadRef{}) && u.Host.IsValid() {
			k.peer = m.peers.Lookup(u.Host.Addr())
		}
	case i.Conn != nil:
		k.mtls = i.Conn.PeerURI != ""
		k.peerURI = i.Conn.PeerURI
		if p := cmp.Or(i.Peer, i.Conn.Peer); p != nil {
			k.workload = p.WorkloadRef
		} else {
			k.peer = m.peers.Lookup(i.Conn.Remote.Addr())
		}
		if set.waypoint {
			k.values = withServer(k.values, server(u))
		}
	}
	s := m.requests.find(k)
	if s == nil {
		s = m.newRequest(k, i)
	}
	s.total.Add(1)
	s.duration.observe(float64(i.Duration.Microseconds()) / 1000)
	s.reqBytes.observe(float64(i.Received))
	s.resBytes.observe(float64(i.Sent))
	if i.GRPC {
		s.reqMsgs.Add(i.RequestMessages)
		s.resMsgs.Add(i.ResponseMessages)
	}
}

// newRequest makes a series; the host that the request names lies in the
// request's memory, so it is copied.
func (m *Metrics) newRequest(k requestKey, i *filter.Info) *requestSeries {
	if k.service.Host == "" && k.set.hostFallback && i.Request != nil {
		k.service.Host = strings.Clone(i.Request.Authority)
		if k.service.Name == "" {
			k.service.Name = k.service.Host
		}
	}
	return m.requests.get(k, newRequestSeries)
}

// server is who answered: who it says it is, else what the configuration says of the endpoint.
func server(u *filter.Upstream) filter.WorkloadRef {
	if u.Peer != nil {
		return u.Peer.WorkloadRef
	}
	return u.Workload
}

// destination names the service. Traffic that no service is meant by has Istio's names.
func destination(i *filter.Info) filter.ServiceRef {
	s := i.Upstream.Service
	switch {
	case i.RouteName == "block_all":
		s.Name = "BlackHoleCluster"
	case i.RouteName == "allow_any":
		s.Name = "PassthroughCluster"
	case s.Host == "":
		s.Name = passing(i.Upstream.Cluster)
	}
	return s
}

// passing is the name of one of Istio's clusters that stand for no service, else "".
func passing(cluster string) string {
	switch cluster {
	case "BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster",
		"InboundPassthroughClusterIpv4", "InboundPassthroughClusterIpv6":
		return cluster
	}
	return ""
}

// Added notes how long the proxy itself held up a request and its response
// together.
func (m *Metrics) Added(d time.Duration) { m.added.observe(float64(d.Nanoseconds()) / 1e6) }

// AddedBy notes it from the times of a request that another engine has logged;
// what a fault made it wait is not its doing.
func (m *Metrics) AddedBy(i *filter.Info) {
	if i.UpstreamStart <= 0 || i.UpstreamFirstByte <= 0 || i.ResponseStart < i.UpstreamFirstByte ||
		i.Attempts > 1 || i.Flags&filter.FlagDelayInjected != 0 {
		return
	}
	m.Added(i.UpstreamStart + i.ResponseStart - i.UpstreamFirstByte)
}

// grpcStatus finds the gRPC status in the trailers, or the headers of a
// trailers-only response; 2 (UNKNOWN) without one.
func grpcStatus(i *filter.Info) int8 {
	v, ok := "", false
	if i.Trailers != nil {
		v, ok = i.Trailers.Lookup("grpc-status")
	}
	if !ok && i.Response != nil {
		v, ok = i.Response.Lookup("grpc-status")
	}
	n, err := strconv.ParseInt(v, 10, 8)
	if !ok || err != nil || n < 0 {
		return 2
	}
	return int8(n)
}

var requestLabels = []string{
	"reporter", "source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
	"source_canonical_service", "source_canonical_revision", "source_cluster",
	"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
	"destination_service", "destination_service_name", "destination_service_namespace",
	"destination_canonical_service", "destination_canonical_revision", "destination_cluster",
	"request_protocol", "response_code", "grpc_response_status", "response_flags", "connection_security_policy",
}

func desc(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var addedDesc = desc("weft_added_latency_milliseconds", "How long the proxy itself held up a request and its response.", nil)

func (m *Metrics) collectRequest(out merger, k requestKey, s *requestSeries) {
	labels := m.sides(side{outbound: k.outbound, waypoint: k.set.waypoint, peer: k.peer, uri: k.peerURI, service: k.service, workload: k.workload, server: before(k.set, k.values)})
	grpc := ""
	if k.grpc >= 0 {
		grpc = strconv.Itoa(int(k.grpc))
	}
	labels = append(labels, k.proto, strconv.Itoa(int(k.code)), grpc, k.flags.String(), policy(k.outbound && !k.set.waypoint, k.mtls))
	at := seriesOf{out, k.set, labels, strings.Split(k.values, separator)}
	at.counter("requests_total", s.total.Load())
	at.histogram("request_duration_milliseconds", &s.duration)
	at.histogram("request_bytes", &s.reqBytes)
	at.histogram("response_bytes", &s.resBytes)
	if k.proto == protoGRPC {
		at.counter("request_messages_total", s.reqMsgs.Load())
		at.counter("response_messages_total", s.resMsgs.Load())
	}
}

// policy is the label connection_security_policy: as in Istio, only the
// server's side says it.
func policy(outbound, mtls bool) string {
	switch {
	case outbound:
		return "unknown"
	case mtls:
		return "mutual_tls"
	}
	return "none"
}
