// Package health asks hosts whether they are well: over HTTP, over gRPC's health
// protocol, or with bytes over TCP. It also writes the log of what was found.
//
// A Probe asks one host, one question at a time, over a connection that it keeps
// if it may. It knows neither clusters nor thresholds: what the answers mean is
// for proxy/cluster. None of this is on the path of requests, so it stands on
// net/http and grpc-go.
package health

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Result of a question.
type Result uint8

// Results.
const (
	// Passed: the host is well.
	Passed Result = iota
	// Failed: the host says that it is not, or what it says is not what was expected.
	Failed
	// NetworkFailed: the host could not be asked.
	NetworkFailed
	// TimedOut: there was no answer in time.
	TimedOut
)

// Answer is what came of a question.
type Answer struct {
	Result Result
	// Degraded: the host is well, and asks for less work (x-envoy-degraded).
	Degraded bool
	// Exclude: the host asks to be taken out (x-envoy-immediate-health-check-fail).
	Exclude bool
	// Retriable failures count up to the threshold; others are final.
	Retriable bool
	// Status of HTTP; 0: none.
	Status int
	// Verified: the name of the service was looked at.
	Verified bool
}

// Probe asks one host. Ask is not called again before it has returned.
type Probe interface {
	Ask(ctx context.Context) Answer
	// Close ends the connection that is kept.
	Close()
}

// Dial connects to the host, TLS included.
type Dial func(ctx context.Context) (net.Conn, error)

// Spec describes active health checks. Exactly one of HTTP, TCP and GRPC is set.
type Spec struct {
	// Timeout of one question. Interval between an answer and the next question.
	Timeout, Interval time.Duration
	// InitialJitter delays the first question, IntervalJitter each one, by a
	// random part of it; JitterPercent is such a part of the interval itself.
	InitialJitter, IntervalJitter time.Duration
	JitterPercent                 uint32
	// UnhealthyThreshold and HealthyThreshold are answers in a row.
	UnhealthyThreshold, HealthyThreshold uint32
	// NoReuse makes a new connection for each question.
	NoReuse bool
	// NoTraffic and NoTrafficHealthy are the intervals while the cluster has never
	// been used. 0: 60 s, and NoTraffic.
	NoTraffic, NoTrafficHealthy time.Duration
	// Unhealthy, UnhealthyEdge and HealthyEdge are intervals after a failure, and
	// after the first answers of another kind. 0: Interval, Unhealthy, Interval.
	Unhealthy, UnhealthyEdge, HealthyEdge time.Duration
	// Log nil: none.
	Log *Log
	// LogFailures and LogSuccesses log all of them, not only changes.
	LogFailures, LogSuccesses bool
	// ALPN replaces the protocols that the handshake offers, when not nil.
	ALPN []string
	// TransportLabels choose the transport socket instead of the endpoint's.
	TransportLabels map[string]string

	HTTP *HTTP
	TCP  *TCP
	GRPC *GRPC
}

// HTTP is a request and what is expected of the response.
type HTTP struct {
	// Host header, "": the cluster's name.
	Host   string
	Method string
	URL    *url.URL
	Header http.Header
	// Remove are names of fields that are not to be sent.
	Remove []string
	Body   []byte
	HTTP2  bool
	// Expected statuses, none: 200. Retriable ones fail up to the threshold.
	Expected, Retriable []Range
	// Receive must be in the first Buffer bytes of the body, in that order.
	Receive [][]byte
	Buffer  int64
	// Service must match x-envoy-upstream-healthchecked-cluster; nil: any.
	Service func(string) bool
}

// Range of statuses, End not included.
type Range struct{ Start, End int }

// TCP sends bytes and waits for bytes.
type TCP struct {
	Send []byte
	// Receive must come in that order; none: to be connected is enough.
	Receive [][]byte
}

// GRPC asks the standard health service.
type GRPC struct {
	Service string
	// Authority "": the cluster's name.
	Authority string
	// Metadata is pairs of names and values.
	Metadata []string
}

// New makes a probe. name is the host name for the question, when the Spec has
// none or the endpoint one of its own.
func (s *Spec) New(dial Dial, name string) Probe {
	switch {
	case s.HTTP != nil:
		return newHTTPProbe(s, dial, name)
	case s.GRPC != nil:
		return &grpcProbe{s: s, dial: dial, name: name}
	default:
		return &tcpProbe{s: s, dial: dial}
	}
}

// Kind in Envoy's words.
func (s *Spec) Kind() string {
	switch {
	case s.HTTP != nil:
		return "HTTP"
	case s.GRPC != nil:
		return "GRPC"
	default:
		return "TCP"
	}
}

func in(ranges []Range, status int) bool {
	for _, r := range ranges {
		if status >= r.Start && status < r.End {
			return true
		}
	}
	return false
}

// failure is an answer when the host could not be asked.
func failure(ctx context.Context) Answer {
	if ctx.Err() != nil {
		return Answer{Result: TimedOut}
	}
	return Answer{Result: NetworkFailed}
}
