// Package transcode is the HTTP filter envoy.filters.http.grpc_json_transcoder: who speaks HTTP and
// JSON calls gRPC services by the rules of google/api/http.proto.
//
// A message is held until it is whole, streams go message by message in both directions: of
// requests as the elements of a JSON array, of responses as such, or by lines, or as server-sent
// events. What no rule fits is passed on, or refused where the configuration says so; gRPC is
// passed on as it is. Bodies of google.api.HttpBody are bytes of any kind.
package transcode

import (
	"errors"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.grpc_json_transcoder"

// New implements filter.HTTPFactory.
func (c *config) New(filter.Stream) filter.HTTPFilter { return &instance{config: c} }

type instance struct {
	filter.PassThrough
	config *config
	build  *builder // nil: the request is none of ours
	kind   string   // the request's content type
	body   []byte   // of a request of one message
	stream elements
	sent   int    // messages
	early  string // before the details of a refusal, as long as there is only a head
	answer answer
}

// RequestHeaders finds the method.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if c, ok := s.RouteConfig(Name).(*config); ok {
		x.config = c
	}
	if x.config.methods == nil {
		return filter.Continue
	}
	if kind := h.Get("content-type"); strings.HasPrefix(kind, "application/grpc") {
		return filter.Continue
	}
	if v, done := x.choose(s, h); done {
		return v
	}
	r := x.build.rule
	x.kind = h.Get("content-type")
	h.Del("content-length")
	h.Set("content-type", "application/grpc")
	h.Set("te", "trailers")
	h.Set("x-envoy-original-path", h.Path)
	h.Set("x-envoy-original-method", h.Method)
	h.Method, h.Path = "POST", r.grpcPath
	if !x.config.keepRoute {
		s.ClearRoute()
	}
	if x.streamed() && !end {
		return filter.Continue
	}
	if end {
		x.early = "early_"
		return x.whole(s, filter.Wait)
	}
	s.Buffer(x, filter.ToUpstream, x.config.maxRequest+frameHead)
	return filter.Wait
}

// choose makes the builder of a request, or has the last word about it.
func (x *instance) choose(s filter.Stream, h *filter.Headers) (v filter.Verdict, done bool) {
	c := x.config
	path, query, _ := strings.Cut(h.Path, "?")
	r, segments := c.methods.find(h.Method, path, c.anyVerb)
	if r == nil {
		return x.pass(s, c.refuseMethod, 404, "Could not resolve "+path+" to a method.")
	}
	b := &builder{rule: r, types: c.methods.types, anyCase: c.anyCase, strict: c.refuseCollision}
	if err := b.query(query, c); err != nil {
		return x.pass(s, c.refuseQuery, 400, err.Error())
	}
	for i, v := range r.path.bindings(segments, c.spared) {
		b.bindings = append(b.bindings, bound{r.vars[i], v.value})
	}
	x.build = b
	x.stream.limit = c.maxRequest
	return 0, false
}

// pass lets a request that cannot be transcoded go on as it is, or refuses it.
func (x *instance) pass(s filter.Stream, refuse bool, status int, why string) (filter.Verdict, bool) {
	if refuse {
		x.early = "early_"
		return x.refuse(s, status, why), true
	}
	return filter.Continue, true
}

func (x *instance) refuse(s filter.Stream, status int, why string) filter.Verdict {
	s.Reply(filter.LocalReply{Status: status, GRPCStatus: -1, Body: why, Details: x.early + failure + "{" + reason(status) + "}"})
	return filter.Reply
}

const failure = "grpc_json_transcode_failure"

// reason is what the details of a refusal say besides.
func reason(status int) string {
	switch status {
	case 404:
		return "NOT_FOUND"
	case 413:
		return "request_buffer_size_limit_reached"
	}
	return "INVALID_ARGUMENT"
}

// streamed: the request is one of many messages.
func (x *instance) streamed() bool { return x.build.rule.method.IsStreamingClient() }

// RequestData takes in the body.
func (x *instance) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.build == nil {
		return filter.Continue
	}
	if x.streamed() {
		return x.pieces(s, b, end)
	}
	if len(x.body)+len(b) > x.config.maxRequest {
		return x.refuse(s, 413, "Payload Too Large")
	}
	x.body = append(x.body, b...)
	if end {
		return x.whole(s, filter.Stop)
	}
	return filter.Stop
}

// RequestTrailers end the body.
func (x *instance) RequestTrailers(s filter.Stream, _ *filter.Headers) filter.Verdict {
	if x.build == nil {
		return filter.Continue
	}
	if x.streamed() {
		return x.pieces(s, nil, true)
	}
	return x.whole(s, filter.Stop)
}

// whole sends the one message.
func (x *instance) whole(s filter.Stream, v filter.Verdict) filter.Verdict {
	out, err := x.build.build(x.body, x.kind, true)
	if err != nil {
		return x.refuse(s, 400, err.Error())
	}
	x.body = nil
	if v == filter.Wait { // the headers are not held yet
		s.Post(func() { x.release(s, out) })
		return v
	}
	x.release(s, out)
	return v
}

func (x *instance) release(s filter.Stream, message []byte) {
	s.Inject(x, filter.ToUpstream, message, true)
	s.Resume(x, filter.ToUpstream)
}

// pieces sends the messages that have come.
func (x *instance) pieces(s filter.Stream, b []byte, end bool) filter.Verdict {
	send := func(element []byte) error {
		out, err := x.build.build(element, x.kind, x.sent == 0)
		if err == nil {
			x.sent++
			s.Inject(x, filter.ToUpstream, out, false)
		}
		return err
	}
	var err error
	switch {
	case x.build.raw() == nil:
		err = x.stream.feed(b, send)
		if err == nil && end && !x.stream.done() {
			err = errNoArray
		}
	case len(b) > 0:
		err = send(b)
	}
	if err != nil {
		return x.refuse(s, 400, err.Error())
	}
	if end {
		s.Inject(x, filter.ToUpstream, nil, true)
	}
	return filter.Stop
}

// ResponseHeaders holds the head of a response of one message, and says what is to come.
func (x *instance) ResponseHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if x.build == nil || h.Status < 200 || !strings.HasPrefix(h.Get("content-type"), "application/grpc") {
		x.build = nil
		return filter.Continue
	}
	s.Info().GRPC = true // for the log only: a reply of the proxy's own is plain, as Envoy's
	x.answer.begin(x, h, end)
	if end {
		body := x.answer.status(h, h, x)
		if body == nil {
			return filter.Continue
		}
		s.Post(func() {
			s.Inject(x, filter.ToDownstream, body, true)
			s.Resume(x, filter.ToDownstream)
		})
		return filter.Wait
	}
	if x.answer.streamed {
		return filter.Continue
	}
	s.Buffer(x, filter.ToDownstream, x.config.maxResponse+frameHead)
	return filter.Wait
}

// ResponseData takes in frames.
func (x *instance) ResponseData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.build == nil {
		return filter.Continue
	}
	out, err := x.answer.feed(b)
	if err != nil {
		return x.broken(s, err)
	}
	if end {
		return x.finish(s, &filter.Headers{}, out)
	}
	if x.answer.streamed && len(out) > 0 {
		s.Inject(x, filter.ToDownstream, out, false)
	} else if !x.answer.streamed {
		x.answer.out = append(x.answer.out, out...)
	}
	return filter.Stop
}

// broken ends a response that is not what its service's description says.
func (x *instance) broken(s filter.Stream, err error) filter.Verdict {
	x.build, s.Info().GRPC = nil, false
	details := failure
	if errors.Is(err, errTooLarge) {
		details += "{response_buffer_size_limit_reached}"
	}
	s.Reply(filter.LocalReply{Status: 500, GRPCStatus: -1, Body: err.Error(), Details: details})
	return filter.Reply
}

// ResponseTrailers say how the call has ended.
func (x *instance) ResponseTrailers(s filter.Stream, t *filter.Headers) filter.Verdict {
	if x.build == nil {
		return filter.Continue
	}
	return x.finish(s, t, nil)
}

func (x *instance) finish(s filter.Stream, trailers *filter.Headers, out []byte) filter.Verdict {
	a := &x.answer
	if a.streamed {
		s.Inject(x, filter.ToDownstream, append(out, a.close()...), true)
		return filter.Stop
	}
	a.out = append(a.out, out...)
	if body := a.status(s.Response(), trailers, x); body != nil {
		a.out = body
	}
	s.Inject(x, filter.ToDownstream, a.out, true)
	s.Resume(x, filter.ToDownstream)
	return filter.Stop
}
