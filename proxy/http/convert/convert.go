// Package convert is the HTTP filter weft.filters.http.convert: on routes that it is set for, requests of
// HTTP with JSON become messages of another protocol, whose own codec makes them, and its answers become JSON.
//
// It holds requests and answers whole, up to maxBody each. Of a request's fields those of tracing go along,
// and what the codec has put into the message; of an answer's fields those that are no field of HTTP's are called
// like the protocol: "dubbo-NAME". Answers of the proxy's own are as on any route.
package convert

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/message"
)

// maxBody is that of a message.
const maxBody = 8 << 20

// Read reads a configuration: the name of the protocol, "" for none, and what is declared of it, in JSON.
type Read func(*anypb.Any) (protocol string, declared []byte, err error)

// route is what is made of the requests of a route.
type route struct {
	protocol *codec.Protocol
	json     codec.JSON
}

// Kind describes the filter. protocols are those that there are.
func Kind(name, typeURL string, read Read, protocols []*codec.Protocol) filter.HTTPKind {
	parse := func(a *anypb.Any) (*route, error) {
		protocol, declared, err := read(a)
		if err != nil {
			return nil, err
		}
		return find(protocols, protocol, declared)
	}
	return filter.HTTPKind{
		Name:     name,
		TypeURLs: []string{typeURL},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			p, err := parse(a)
			if err == nil && p != nil {
				err = errors.New("protocol: it is set on routes")
			}
			return factory{name}, err
		},
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			p, err := parse(a)
			return p, err
		},
	}
}

func find(protocols []*codec.Protocol, name string, declared []byte) (*route, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // none
	}
	for _, p := range protocols {
		switch {
		case p.Name != name:
		case declared != nil && p.Declare != nil:
			j, err := p.Declare(declared)
			if err != nil {
				return nil, fmt.Errorf("declared: %w", err)
			}
			return &route{p, j}, nil
		case declared != nil:
			return nil, fmt.Errorf("declared: %q has nothing to declare", name)
		case p.JSON != nil:
			return &route{p, p.JSON}, nil
		default:
			return nil, fmt.Errorf("protocol: %q cannot be made of JSON without a declaration", name)
		}
	}
	return nil, fmt.Errorf("protocol: there is no %q", name)
}

type factory struct{ name string }

// New implements filter.HTTPFactory.
func (f factory) New(filter.Stream) filter.HTTPFilter { return &instance{name: f.name} }

type instance struct {
	filter.PassThrough
	name     string
	r        *route // nil: the request stays as it is
	answered codec.Answered
	body     []byte
}

// RequestHeaders waits for the body, where the route's services speak something else.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, end bool) filter.Verdict {
	if x.r, _ = s.RouteConfig(x.name).(*route); x.r == nil {
		return filter.Continue
	}
	if end {
		s.Post(func() { x.convert(s) })
	} else {
		s.Buffer(x, filter.ToUpstream, maxBody)
	}
	return filter.Wait
}

// RequestData takes in the body.
func (x *instance) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.r == nil {
		return filter.Continue
	}
	return x.take(s, b, end, x.convert)
}

// take collects a body, and goes on with it when it is whole.
func (x *instance) take(s filter.Stream, b []byte, end bool, whole func(filter.Stream)) filter.Verdict {
	if len(x.body)+len(b) > maxBody {
		x.refuse(s, 413, "the body is larger than a message may be")
		return filter.Reply
	}
	if x.body = append(x.body, b...); end {
		whole(s)
	}
	return filter.Stop
}

// RequestTrailers end the body.
func (x *instance) RequestTrailers(s filter.Stream, _ *filter.Headers) filter.Verdict {
	if x.r == nil {
		return filter.Continue
	}
	x.convert(s)
	return filter.Stop
}

func (x *instance) refuse(s filter.Stream, status int, why string) {
	x.r = nil
	s.Reply(filter.LocalReply{Status: status, GRPCStatus: -1, Body: why, Details: "message_conversion_failed"})
}

// convert sends the message.
func (x *instance) convert(s filter.Stream) {
	h := s.Request()
	raw, answered, err := x.r.json.Request(h, x.body)
	if err != nil {
		x.refuse(s, 400, err.Error())
		return
	}
	x.body, x.answered = nil, answered
	m := codec.Message{Head: &filter.Headers{}}
	if err := x.r.protocol.New().Decode(raw, codec.Client, &m); err != nil || m.Fault != nil {
		x.refuse(s, 500, fmt.Sprint("BUG: a message that its own codec refuses: ", errors.Join(err, m.Fault)))
		return
	}
	become(h, m.Head)
	s.Info().Messages = x.r.protocol
	s.Inject(x, filter.ToUpstream, raw, true)
	s.Resume(x, filter.ToUpstream)
}

// become makes h the head of a message, with what the proxy itself wants to know or tell.
func become(h, message *filter.Headers) {
	for i := h.Len() - 1; i >= 0; i-- {
		if name := h.At(i).Name; !stays(name) {
			h.Del(name)
			i = min(i, h.Len())
		}
	}
	h.Method, h.Path, h.Authority = h.KeepString(message.Method), h.KeepString(message.Path), h.KeepString(message.Authority)
	for i := range message.Len() {
		f := message.At(i)
		h.Add(h.KeepString(f.Name), h.KeepString(f.Value))
	}
}

// stays tells whether a field of a request goes along.
func stays(name string) bool {
	switch name {
	case "x-request-id", "traceparent", "tracestate", "baggage", "b3":
		return true
	}
	return strings.HasPrefix(name, "x-b3-") || !message.Public(name)
}

// ResponseHeaders waits for the answer.
func (x *instance) ResponseHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if x.r == nil || h.Protocol != x.r.protocol.Name || end {
		x.r = nil
		return filter.Continue
	}
	s.Buffer(x, filter.ToDownstream, maxBody)
	return filter.Wait
}

// ResponseData takes in the answer.
func (x *instance) ResponseData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.r == nil {
		return filter.Continue
	}
	return x.take(s, b, end, x.answer)
}

// answer sends the response.
func (x *instance) answer(s filter.Stream) {
	status, body, err := x.answered(x.body)
	if err != nil {
		x.refuse(s, 502, "the answer cannot be made JSON: "+err.Error())
		return
	}
	h := s.Response()
	prefixed(h, x.r.protocol.Name+"-")
	h.Status = status
	h.Set("content-type", "application/json")
	h.Set("content-length", strconv.Itoa(len(body)))
	s.Inject(x, filter.ToDownstream, body, true)
	s.Resume(x, filter.ToDownstream)
}

// prefixed renames the fields of a message.
func prefixed(h *filter.Headers, prefix string) {
	var list []filter.Field
	for i := range h.Len() {
		if f := h.At(i); message.Public(f.Name) {
			list = append(list, filter.Field{Name: h.KeepString(f.Name), Value: h.KeepString(f.Value)})
		}
	}
	for _, f := range list {
		h.Del(f.Name)
	}
	for _, f := range list {
		h.Add(prefix+f.Name, f.Value)
	}
}
