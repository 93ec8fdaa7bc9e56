// Package filtertest has a stream for the tests of HTTP filters: it records
// what a filter does and lets the test move the time. It is for tests only,
// and for one goroutine.
package filtertest

import (
	"slices"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// Stream implements filter.Stream.
type Stream struct {
	Req, Resp  *filter.Headers
	StreamInfo filter.Info
	// Routes is the configuration of the chosen route by filter name.
	Routes map[string]any
	// Levels, by filter name, are what RouteConfigs returns; nil: that of Routes.
	Levels map[string][]any

	// Lacks is what Missing returns.
	Lacks filter.Missing

	// What happened.
	Restarts int
	Replies  []filter.LocalReply
	Resumed  []filter.Direction
	Cleared  int
	Data     []byte // injected
	Limit    int    // of Buffer
	// Most is what BufferLimit returns; 0: 1 MiB, Envoy's default.
	Most     int
	Trailers []filter.Field // injected

	now    time.Duration
	timers []*timer
}

type timer struct {
	at time.Duration
	f  func()
}

// New returns a stream with a request of "name", "value" pairs; pseudo headers are understood.
func New(fields ...string) *Stream {
	s := &Stream{Req: &filter.Headers{Method: "GET", Scheme: "http", Authority: "host", Path: "/"}}
	for i := 0; i < len(fields); i += 2 {
		s.Req.Set(fields[i], fields[i+1])
	}
	s.StreamInfo.Conn = &filter.ConnInfo{}
	s.StreamInfo.Request = s.Req
	return s
}

// Request implements filter.Stream.
func (s *Stream) Request() *filter.Headers { return s.Req }

// Response implements filter.Stream.
func (s *Stream) Response() *filter.Headers { return s.Resp }

// Info implements filter.Stream.
func (s *Stream) Info() *filter.Info { return &s.StreamInfo }

// RouteConfig implements filter.Stream.
func (s *Stream) RouteConfig(name string) any { return s.Routes[name] }

// RouteConfigs implements filter.Stream.
func (s *Stream) RouteConfigs(name string) []any {
	if all := s.Levels[name]; all != nil {
		return all
	}
	if c := s.Routes[name]; c != nil {
		return []any{c}
	}
	return nil
}

// ClearRoute implements filter.Stream.
func (s *Stream) ClearRoute() { s.Cleared++ }

// Missing implements filter.Stream.
func (s *Stream) Missing() filter.Missing { return s.Lacks }

// Restart implements filter.Stream.
func (s *Stream) Restart(filter.HTTPFilter) { s.Restarts++ }

// Reply implements filter.Stream.
func (s *Stream) Reply(r filter.LocalReply) { s.Replies = append(s.Replies, r) }

// Inject implements filter.Stream.
func (s *Stream) Inject(_ filter.HTTPFilter, _ filter.Direction, b []byte, _ bool) {
	s.Data = append(s.Data, b...)
}

// InjectTrailers implements filter.Stream.
func (s *Stream) InjectTrailers(_ filter.HTTPFilter, _ filter.Direction, fields []filter.Field) {
	s.Trailers = append(s.Trailers, fields...)
}

// BufferLimit implements filter.Stream.
func (s *Stream) BufferLimit() int {
	if s.Most > 0 {
		return s.Most
	}
	return 1 << 20
}

// Buffer implements filter.Stream.
func (s *Stream) Buffer(_ filter.HTTPFilter, _ filter.Direction, limit int) { s.Limit = limit }

// Cluster implements filter.Stream.
func (s *Stream) Cluster() string { return s.StreamInfo.Upstream.Cluster }

// Resume implements filter.Stream.
func (s *Stream) Resume(_ filter.HTTPFilter, d filter.Direction) { s.Resumed = append(s.Resumed, d) }

// Post implements filter.Stream.
func (s *Stream) Post(f func()) { f() }

// After implements filter.Stream.
func (s *Stream) After(d time.Duration, f func()) (stop func()) {
	t := &timer{s.now + d, f}
	s.timers = append(s.timers, t)
	return func() { s.timers = slices.DeleteFunc(s.timers, func(o *timer) bool { return o == t }) }
}

// Timers is the number of those that run.
func (s *Stream) Timers() int { return len(s.timers) }

// Advance lets time pass and runs what is due, in order.
func (s *Stream) Advance(d time.Duration) {
	end := s.now + d
	for {
		var next *timer
		for _, t := range s.timers {
			if t.at <= end && (next == nil || t.at < next.at) {
				next = t
			}
		}
		if next == nil {
			s.now = end
			return
		}
		s.now = next.at
		s.timers = slices.DeleteFunc(s.timers, func(o *timer) bool { return o == next })
		next.f()
	}
}
