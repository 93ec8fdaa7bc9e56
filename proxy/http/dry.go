package http

import (
	"slices"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// Judgement is what a manager would do with a request, as far as that is decided
// without asking anybody.
type Judgement struct {
	// Reply is the answer that the proxy itself gives; nil: the request goes on. By
	// is the filter that gives it; "": the manager.
	Reply *filter.LocalReply
	By    string
	// Routes is the configuration that was looked into, nil: there is none; Trace how.
	Routes *route.Table
	Trace  route.Trace
	// Judged are the filters that were asked, Others those that were not: they ask
	// somebody else, wait, go by chance, or only watch.
	Judged, Others []string
}

// judges are the filters that decide by themselves, at once, the same each time.
var judges = []string{"envoy.filters.http.jwt_authn", "envoy.filters.http.rbac"}

// Judge tells what would become of a request. Path normalisation, the choice of a
// route and the filters are those that requests go through. h is changed as they
// change it; info has the connection.
func (m *Manager) Judge(h *filter.Headers, info *filter.Info) (j Judgement) {
	if h.Method != "CONNECT" {
		if l, ok := (&call{m: m}).checkPath(h); !ok {
			j.Reply = &l
			return j
		}
	}
	info.Request = h
	if m.cfg.Routes != nil {
		j.Routes = m.cfg.Routes()
	}
	s := &dryStream{info: info}
	if j.Routes != nil {
		j.Trace = j.Routes.Trace(h, &route.Req{Conn: info.Conn, Info: info})
		s.entry = j.Trace.Found
	}
	for _, f := range m.cfg.Filters {
		if !slices.Contains(judges, f.Name) || f.Disabled {
			j.Others = append(j.Others, f.Name)
			continue
		}
		inst := f.Factory.New(s)
		verdict := inst.RequestHeaders(s, h, true)
		inst.Done(s)
		switch {
		case s.reply != nil:
			j.Reply, j.By = s.reply, f.Name
			return j
		case verdict == filter.Wait:
			j.Others = append(j.Others, f.Name)
		default:
			j.Judged = append(j.Judged, f.Name)
		}
	}
	if s.cleared && j.Routes != nil {
		j.Trace = j.Routes.Trace(h, &route.Req{Conn: info.Conn, Info: info})
	}
	return j
}

// dryStream is a stream without a connection.
type dryStream struct {
	info    *filter.Info
	entry   *route.Entry
	reply   *filter.LocalReply
	cleared bool
}

var _ filter.Stream = (*dryStream)(nil)

func (s *dryStream) Request() *filter.Headers  { return s.info.Request }
func (s *dryStream) Response() *filter.Headers { return nil }
func (s *dryStream) Info() *filter.Info        { return s.info }

func (s *dryStream) RouteConfig(name string) any {
	if s.entry == nil {
		return nil
	}
	return s.entry.FilterConfig(route.Target{}, name)
}

func (s *dryStream) RouteConfigs(name string) []any {
	if s.entry == nil {
		return nil
	}
	return s.entry.FilterConfigs(route.Target{}, name)
}

func (s *dryStream) ClearRoute()                                                        { s.cleared = true }
func (s *dryStream) BufferLimit() int                                                   { return defaultBufferLimit }
func (s *dryStream) Missing() filter.Missing                                            { return filter.Missing{} }
func (s *dryStream) Restart(filter.HTTPFilter)                                          {}
func (s *dryStream) Reply(r filter.LocalReply)                                          { s.reply = &r }
func (s *dryStream) Inject(filter.HTTPFilter, filter.Direction, []byte, bool)           {}
func (s *dryStream) InjectTrailers(filter.HTTPFilter, filter.Direction, []filter.Field) {}
func (s *dryStream) Buffer(filter.HTTPFilter, filter.Direction, int)                    {}
func (s *dryStream) Cluster() string                                                    { return "" }
func (s *dryStream) Resume(filter.HTTPFilter, filter.Direction)                         {}
func (s *dryStream) Post(func())                                                        {}
func (s *dryStream) After(time.Duration, func()) func()                                 { return func() {} }
