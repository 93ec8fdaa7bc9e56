package plugin

import (
	"cmp"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// stream is one recorded request: it does what the plug-in asks at once. It is for one goroutine.
type stream struct {
	req, resp *filter.Headers
	info      filter.Info
	reply     *filter.LocalReply
	sent      []byte // injected
	resumed   bool
	stuck     bool
}

func newStream(r *Request) *stream {
	m := &r.Request
	s := &stream{resp: &filter.Headers{}, req: &filter.Headers{
		Method: cmp.Or(m.Method, "GET"), Scheme: "http", Authority: cmp.Or(m.Host, "localhost"), Path: cmp.Or(m.Path, "/"),
	}}
	for k, v := range m.Headers {
		s.req.Add(strings.ToLower(k), v)
	}
	s.info = filter.Info{Conn: &filter.ConnInfo{}, Start: time.Now(), Protocol: "HTTP/1.1", Request: s.req}
	return s
}

// answer is the server's.
func (s *stream) answer(m *Message) {
	s.resp.Status = cmp.Or(m.Status, 200)
	for k, v := range m.Headers {
		s.resp.Add(strings.ToLower(k), v)
	}
	s.info.Response = s.resp
}

// through sends a message through the plug-in; the result is its body as it goes on.
func (s *stream) through(x filter.HTTPFilter, d filter.Direction, body string) string {
	s.sent, s.resumed = nil, false
	var v filter.Verdict
	if d == filter.ToUpstream {
		v = x.RequestHeaders(s, s.req, body == "")
	} else {
		v = x.ResponseHeaders(s, s.resp, body == "")
	}
	waits := v == filter.Wait
	if body != "" && s.reply == nil {
		data := x.RequestData
		if d == filter.ToDownstream {
			data = x.ResponseData
		}
		if data(s, []byte(body), true) == filter.Continue {
			s.sent = append(s.sent, body...)
		}
	}
	s.stuck = s.stuck || s.reply == nil && waits && !s.resumed
	return string(s.sent)
}

func (s *stream) Request() *filter.Headers { return s.req }

func (s *stream) Response() *filter.Headers { return s.resp }

func (s *stream) Info() *filter.Info { return &s.info }

func (*stream) RouteConfig(string) any { return nil }

func (*stream) RouteConfigs(string) []any { return nil }

func (*stream) ClearRoute() {}

func (*stream) Missing() filter.Missing { return filter.Missing{} }

func (*stream) Restart(filter.HTTPFilter) {}

func (s *stream) Reply(r filter.LocalReply) { s.reply = &r }

func (s *stream) Inject(_ filter.HTTPFilter, _ filter.Direction, b []byte, _ bool) {
	s.sent = append(s.sent, b...)
}

func (*stream) InjectTrailers(filter.HTTPFilter, filter.Direction, []filter.Field) {}

func (*stream) Buffer(filter.HTTPFilter, filter.Direction, int) {}

// BufferLimit is Envoy's default.
func (*stream) BufferLimit() int { return 1 << 20 }

func (*stream) Cluster() string { return "" }

func (s *stream) Resume(filter.HTTPFilter, filter.Direction) { s.resumed = true }

// Post drops what comes of calls: there are no clusters, and plug-ins hear at once that there is no answer.
func (s *stream) Post(func()) {}

func (*stream) After(time.Duration, func()) (stop func()) { return func() {} }

var _ filter.Stream = (*stream)(nil)
