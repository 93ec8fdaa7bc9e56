package telemetry

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/proxy/filter"
)

// protocol of a request, as the label request_protocol.
type protocol uint8

const (
	protoHTTP protocol = iota
	protoGRPC
)

func (p protocol) String() string { return [...]string{"http", "grpc"}[p] }

// requestKey tells requests apart. Strings in it come from the configuration or
// the connection, not from a request's memory.
type requestKey struct {
	outbound bool
	mtls     bool
	proto    protocol
	grpc     int8 // gRPC status, -1 none
	code     uint16
	flags    filter.ResponseFlags
	peer     *Peer // the other side, where only its address is known
	// peerURI is the other side's identity.
	peerURI  string
	service  filter.ServiceRef
	workload filter.WorkloadRef // the server, for outbound
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

// Request counts a request that has ended. outbound tells which side of it the
// proxy is on.
func (m *Metrics) Request(i *filter.Info, outbound bool) {
	k := requestKey{outbound: outbound, code: uint16(i.Status), flags: i.Flags, grpc: -1}
	k.service = i.Upstream.Service
	if i.GRPC {
		k.proto = protoGRPC
		k.grpc = grpcStatus(i)
	}
	if outbound {
		k.workload, k.peerURI = i.Upstream.Workload, i.Upstream.PeerURI
		if k.workload == (filter.WorkloadRef{}) && i.Upstream.Host.IsValid() {
			k.peer = m.peers.Lookup(i.Upstream.Host.Addr())
		}
	} else if i.Conn != nil {
		k.mtls = i.Conn.PeerURI != ""
		k.peerURI = i.Conn.PeerURI
		k.peer = m.peers.Lookup(i.Conn.Remote.Addr())
	}
	s := m.requests.get(k, newRequestSeries)
	s.total.Add(1)
	s.duration.observe(float64(i.Duration.Microseconds()) / 1000)
	s.reqBytes.observe(float64(i.Received))
	s.resBytes.observe(float64(i.Sent))
	if i.GRPC {
		s.reqMsgs.Add(i.RequestMessages)
		s.resMsgs.Add(i.ResponseMessages)
	}
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

var (
	requestsDesc = desc("istio_requests_total", "Requests.", requestLabels)
	durationDesc = desc("istio_request_duration_milliseconds", "Duration of requests.", requestLabels)
	reqBytesDesc = desc("istio_request_bytes", "Size of request bodies.", requestLabels)
	resBytesDesc = desc("istio_response_bytes", "Size of response bodies.", requestLabels)
	reqMsgsDesc  = desc("istio_request_messages_total", "gRPC messages sent by clients.", requestLabels)
	resMsgsDesc  = desc("istio_response_messages_total", "gRPC messages sent by servers.", requestLabels)
	addedDesc    = desc("weft_added_latency_milliseconds", "How long the proxy itself held up a request and its response.", nil)
)

func (m *Metrics) collectRequest(out chan<- prometheus.Metric, k requestKey, s *requestSeries) {
	labels := m.sides(k.outbound, k.peer, k.peerURI, k.service, k.workload)
	grpc := ""
	if k.grpc >= 0 {
		grpc = strconv.Itoa(int(k.grpc))
	}
	labels = append(labels, k.proto.String(), strconv.Itoa(int(k.code)), grpc, k.flags.String(), policy(k.outbound, k.mtls))
	counter := func(d *prometheus.Desc, v uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	counter(requestsDesc, s.total.Load())
	out <- s.duration.metric(durationDesc, labels)
	out <- s.reqBytes.metric(reqBytesDesc, labels)
	out <- s.resBytes.metric(resBytesDesc, labels)
	if k.proto == protoGRPC {
		counter(reqMsgsDesc, s.reqMsgs.Load())
		counter(resMsgsDesc, s.resMsgs.Load())
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

// sides returns the labels from reporter to destination_cluster.
func (m *Metrics) sides(outbound bool, peer *Peer, peerURI string, svc filter.ServiceRef, server filter.WorkloadRef) []string {
	reporter, source, dest := "destination", peer.Ref(), m.local
	sourceURI, destURI := peerURI, ""
	if peerURI != "" {
		destURI = m.uri(peerURI)
	}
	if outbound {
		if server == (filter.WorkloadRef{}) {
			server = peer.Ref()
		}
		reporter, source, dest = "source", m.local, server
		sourceURI, destURI = "", peerURI
		if peerURI != "" {
			sourceURI = m.uri(peerURI)
		}
	}
	out := make([]string, 0, len(requestLabels))
	out = append(out, reporter)
	out = append(out, workloadLabels(source, sourceURI)...)
	out = append(out, known(source.Service), known(source.Revision), known(source.Cluster))
	out = append(out, workloadLabels(dest, destURI)...)
	if svc.Host == "" && !outbound {
		// A workload called by no service's port is its own destination.
		svc = filter.ServiceRef{Host: dest.Service, Name: dest.Service, Namespace: dest.Namespace}
	}
	return append(out, known(svc.Host), known(svc.Name), known(svc.Namespace),
		known(dest.Service), known(dest.Revision), known(dest.Cluster))
}

// uri is the local workload's identity, in the trust domain of its peer's: both
// were checked against the same roots.
func (m *Metrics) uri(peerURI string) string {
	domain, _, _ := strings.Cut(strings.TrimPrefix(peerURI, "spiffe://"), "/")
	if m.local.Namespace == "" || domain == "" {
		return ""
	}
	return "spiffe://" + domain + "/ns/" + m.local.Namespace + "/sa/" + m.local.Account
}

// workloadLabels returns workload, namespace, principal, app, version.
func workloadLabels(w filter.WorkloadRef, uri string) []string {
	return []string{known(w.Name), known(w.Namespace), known(uri), known(w.App), known(w.Version)}
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
