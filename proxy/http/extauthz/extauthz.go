// Package extauthz is the filter envoy.filters.http.ext_authz, and the one for
// connections, envoy.filters.network.ext_authz: another server decides about each
// request or connection, over gRPC or plain HTTP, and may change its headers.
//
// A request waits for the decision without holding anything up. In shadow mode it
// never ends there: the decision is left in filter state. Decisions of an old kind
// of service are refused at configuration time.
package extauthz

import (
	"maps"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

// Names of the filters, in Envoy's words; that of requests is also that of their metadata.
const (
	Name        = "envoy.filters.http.ext_authz"
	NetworkName = "envoy.filters.network.ext_authz"
)

// kind of a decision.
type kind uint8

const (
	failed kind = iota
	allowed
	denied
)

// action on a header.
type action uint8

const (
	set action = iota
	add
	appendTo     // to what is there, nothing otherwise
	setIfPresent //
	addIfAbsent
)

type change struct {
	name, value string
	do          action
}

// decision is what the server said.
type decision struct {
	kind              kind
	status            int // 0: the usual one
	body              string
	request, response []change
	reply             []filter.Field // headers of a denial
	shown             []filter.Field // those with what frames them, as shadow mode tells them; nil: reply
	remove            []string
	setQuery          []filter.Field
	removeQuery       []string
	metadata          map[string]any
}

// checker asks the server. done is called as with filter.Caller.
type checker interface {
	check(q *question, done func(*decision)) (cancel func())
}

// question is what the server is asked about.
type question struct {
	s       filter.Stream
	cfg     *config
	context map[string]string

	body     []byte
	buffered bool // a body was waited for
	partial  bool // and is longer than body
}

// partialHeader tells the server whether it sees the whole body.
const partialHeader = "x-envoy-auth-partial-body"

// bodies says how much of a body the server sees.
type bodies struct {
	max     int // 0: nothing
	partial bool
	raw     bool
}

type config struct {
	name        string
	checker     checker
	shadow      bool
	rules       *match.Rules // about changes of the request; nil: there are none
	body        bodies
	open        bool // let pass when the server fails
	openHeader  bool
	clearRoute  bool
	errorStatus int
	validate    bool
	enabled     *route.Fraction     // nil: always
	enabledFor  *route.MetadataTest // requests that other filters have marked; nil: all
	denyOff     runtime.Flag
	namespaces  []string
	routeSpaces []string
	certificate bool
	session     bool
	allow       *route.Strings // headers that the server sees, nil: all
	disallow    *route.Strings
	ingest      bool
	random      func() uint64

	ok, denied, failed, disabled, opened, invalid *filter.Counter
	shadowDenied, shadowFailed                    *filter.Counter
	cluster                                       func(cluster, stat string) *filter.Counter
}

// perRoute is what a route says.
type perRoute struct {
	disabled bool
	checker  checker // instead of the filter's; nil: it is asked
	context  map[string]string
	noBody   bool
	body     *bodies
}

type factory struct{ cfg *config }

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return &instance{cfg: f.cfg} }

// instance is the filter of one stream.
type instance struct {
	filter.PassThrough
	cfg       *config
	checker   checker
	body      bodies
	seen      []byte
	context   map[string]string
	buffering bool
	more      bool // than was seen
	asking    bool
	cancel    func()
	asked     time.Time
	response  []change
}

// asks tells whether the server decides about a request.
func (c *config) asks(i *filter.Info) bool {
	if c.enabledFor != nil {
		if ok, _ := c.enabledFor.Matches(i); !ok {
			return false
		}
	}
	return c.enabled == nil || c.enabled.Chosen(c.random())
}

// RequestHeaders asks, or begins to collect the body.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, end bool) filter.Verdict {
	c := x.cfg
	own, _ := s.RouteConfig(c.name).(*perRoute)
	if own != nil && own.disabled {
		return filter.Continue
	}
	if !c.asks(s.Info()) {
		c.disabled.Add(1)
		if !c.denyOff.On() {
			return filter.Continue
		}
		s.Reply(x.failure())
		return filter.Reply
	}
	x.body, x.checker = c.body, c.checker
	if own != nil && own.checker != nil {
		x.checker = own.checker
	}
	if own != nil && own.body != nil {
		x.body = *own.body
	}
	if own != nil && own.noBody {
		x.body.max = 0
	}
	for _, level := range s.RouteConfigs(c.name) {
		if p, ok := level.(*perRoute); ok && len(p.context) > 0 {
			if x.context == nil {
				x.context = map[string]string{}
			}
			maps.Copy(x.context, p.context)
		}
	}
	if x.body.max > 0 && !end && s.Request().Protocol == "" {
		x.buffering = true
		// Also a part of it is to be had if it is more than is held up to otherwise.
		s.Buffer(x, filter.ToUpstream, x.body.max)
		return filter.Wait
	}
	x.ask(s)
	return filter.Wait
}

// RequestData collects.
func (x *instance) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if !x.buffering {
		return filter.Continue
	}
	room := x.body.max - len(x.seen)
	if len(b) > room && !x.body.partial {
		x.buffering = false // what holds the body answers that it is too large
		return filter.Continue
	}
	x.seen = append(x.seen, b[:min(len(b), room)]...)
	x.more = len(b) > room
	if end || len(x.seen) >= x.body.max && x.body.partial {
		x.ask(s)
	}
	return filter.Continue
}

// RequestTrailers ends the body.
func (x *instance) RequestTrailers(s filter.Stream, _ *filter.Headers) filter.Verdict {
	if x.buffering {
		x.ask(s)
	}
	return filter.Continue
}

// ask asks the server. The answer comes in an event of its own.
func (x *instance) ask(s filter.Stream) {
	q := &question{s: s, cfg: x.cfg, context: x.context, body: x.seen, buffered: x.buffering, partial: x.more}
	if x.buffering && x.body.partial {
		s.Buffer(x, filter.ToUpstream, 0)
	}
	x.buffering, x.asking, x.asked = false, true, time.Now()
	x.cancel = x.checker.check(q, func(d *decision) {
		s.Post(func() { x.decided(s, d) })
	})
}

// decided carries a decision out.
func (x *instance) decided(s filter.Stream, d *decision) {
	if !x.asking {
		return
	}
	x.asking = false
	c := x.cfg
	if len(d.metadata) > 0 && c.ingest {
		if d.kind == allowed {
			d.metadata["ext_authz_duration"] = float64(time.Since(x.asked).Milliseconds())
		}
		s.Info().SetMetadata(Name, d.metadata)
	}
	if c.validate && d.kind != failed && !d.valid() || d.kind == allowed && c.rules.Forbid(d.names, d.remove) {
		x.count(s, c.invalid, "invalid")
		r := x.failure()
		r.Status, r.Details = 500, "ext_authz_invalid"
		s.Reply(r)
		return
	}
	if c.shadow {
		x.leave(s, d)
	}
	switch d.kind {
	case allowed:
		x.count(s, c.ok, "ok")
		x.change(s, d)
		x.response = d.response
		s.Resume(x, filter.ToUpstream)
	case denied:
		x.count(s, c.denied, "denied")
		if c.shadow {
			c.shadowDenied.Add(1)
			s.Resume(x, filter.ToUpstream)
			return
		}
		s.Reply(filter.LocalReply{
			Status: d.status, GRPCStatus: -1, Body: d.body, Header: d.reply,
			Details: "ext_authz_denied", Flags: filter.FlagUnauthorizedExternal,
		})
	default:
		x.count(s, c.failed, "error")
		x.undecided(s, d)
	}
}

// undecided goes on without a decision, or answers.
func (x *instance) undecided(s filter.Stream, d *decision) {
	c := x.cfg
	switch {
	case c.shadow:
		c.shadowFailed.Add(1)
	case c.open:
		x.count(s, c.opened, "failure_mode_allowed")
		if c.openHeader {
			s.Request().Add("x-envoy-auth-failure-mode-allowed", "true")
		}
	default:
		r := x.failure()
		if d.status > 0 {
			r.Status = d.status
		}
		r.Body, r.Header = d.body, d.reply
		s.Reply(r)
		return
	}
	s.Resume(x, filter.ToUpstream)
}

// failure is the answer when there is no decision.
func (x *instance) failure() filter.LocalReply {
	return filter.LocalReply{
		Status: x.cfg.errorStatus, GRPCStatus: -1, Details: "ext_authz_error", Flags: filter.FlagUnauthorizedExternal,
	}
}

func (x *instance) count(s filter.Stream, own *filter.Counter, stat string) {
	own.Add(1)
	if name := s.Cluster(); name != "" {
		x.cfg.cluster(name, stat).Add(1)
	}
}

// change does to the request what the server asks for.
func (x *instance) change(s filter.Stream, d *decision) {
	h := s.Request()
	for _, c := range d.request {
		if x.cfg.rules.Allow(c.name) {
			c.apply(h)
		}
	}
	for _, name := range d.remove {
		if name = strings.ToLower(name); match.Removable(name) && x.cfg.rules.Allow(name) {
			h.Del(name)
		}
	}
	if len(d.setQuery)+len(d.removeQuery) > 0 {
		h.Path = changeQuery(h.Path, d.setQuery, d.removeQuery)
	}
	if x.cfg.clearRoute && len(d.request)+len(d.remove)+len(d.setQuery)+len(d.removeQuery) > 0 {
		s.ClearRoute()
	}
}

func (c *change) apply(h *filter.Headers) {
	name := strings.ToLower(c.name)
	if name == "host" {
		name = ":authority"
	}
	switch c.do {
	case set:
		h.Set(name, c.value)
	case add:
		h.Add(name, c.value)
	case appendTo:
		if old, ok := h.Lookup(name); ok {
			h.Set(name, old+","+c.value)
		}
	case setIfPresent:
		if h.Has(name) {
			h.Set(name, c.value)
		}
	case addIfAbsent:
		if !h.Has(name) {
			h.Add(name, c.value)
		}
	}
}

// changeQuery sets and removes query parameters.
func changeQuery(path string, put []filter.Field, remove []string) string {
	path, q, _ := strings.Cut(path, "?")
	v, err := url.ParseQuery(q)
	if err != nil {
		v = url.Values{}
	}
	for _, f := range put {
		v.Set(f.Name, f.Value)
	}
	for _, name := range remove {
		v.Del(name)
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// names are those of the request's headers that it changes.
func (d *decision) names(yield func(string) bool) {
	for _, c := range d.request {
		if !yield(c.name) {
			return
		}
	}
}

// valid tells whether all headers can be sent.
func (d *decision) valid() bool {
	for _, list := range [][]change{d.request, d.response} {
		for _, c := range list {
			if !validField(c.name, c.value) {
				return false
			}
		}
	}
	for _, f := range d.reply {
		if !validField(f.Name, f.Value) {
			return false
		}
	}
	return true
}

func validField(name, value string) bool {
	bad := func(c rune) bool { return c <= ' ' || c >= 0x7f }
	return name != "" && strings.IndexFunc(name, bad) < 0 && !strings.ContainsAny(value, "\r\n\x00")
}

// ResponseHeaders changes the response.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	for i := range x.response {
		x.response[i].apply(h)
	}
	return filter.Continue
}

// Done gives up waiting.
func (x *instance) Done(filter.Stream) {
	if x.asking {
		x.asking = false
		x.cancel()
	}
}

func newConfig() *config { return &config{errorStatus: 403, random: rand.Uint64, ingest: true} }
