// Package grpcbridge is the HTTP filter envoy.filters.http.grpc_http1_bridge: it
// lets HTTP/1.1 clients, which see no trailers, call gRPC services. The status of a
// call becomes headers of the response, one other than 0 also an HTTP status
// (503), and the response has a content-length; where that is asked for, a bare
// protobuf message is framed on its way, and the frame of the answer taken away.
//
// A response is held whole, a request only when it is to be framed, both up to maxBody.
package grpcbridge

import (
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.grpc_http1_bridge"

const (
	protobuf = "application/x-protobuf"
	// frameHead is a flag and the length of a message.
	frameHead = 5
	// maxBody is what a connection of Envoy's holds by default.
	maxBody = 1 << 20
)

type factory struct{ upgrade, ignoreQuery bool }

// New implements filter.HTTPFactory.
func (f *factory) New(s filter.Stream) filter.HTTPFilter {
	if strings.HasPrefix(s.Info().Protocol, "HTTP/1") {
		return &instance{factory: f}
	}
	return nil
}

type instance struct {
	filter.PassThrough
	factory *factory
	bridges bool // the request is gRPC
	frames  bool // it was not before
	head    int  // what is left of the answer's frame head
	request []byte
	holds   bool // the response
	n       int  // its bytes
}

// RequestHeaders makes the request gRPC, if it is to be.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	kind := h.Get("content-type")
	if x.factory.upgrade && kind == protobuf {
		x.frames, x.head = true, frameHead
		h.Set("content-type", "application/grpc")
		h.Del("content-length")
		s.ClearRoute()
	}
	x.bridges = x.frames || isGRPC(kind)
	if x.bridges && x.factory.ignoreQuery {
		h.Path, _, _ = strings.Cut(h.Path, "?")
	}
	if x.frames && !end {
		s.Buffer(x, filter.ToUpstream, frameHead+maxBody)
		return filter.Wait
	}
	return filter.Continue
}

func isGRPC(kind string) bool {
	rest, ok := strings.CutPrefix(kind, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// RequestData takes in a message that is to be framed.
func (x *instance) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if !x.frames {
		return filter.Continue
	}
	if x.request == nil {
		x.request = make([]byte, frameHead, frameHead+len(b))
	}
	if len(x.request)+len(b) > frameHead+maxBody {
		s.Reply(filter.TooLarge(filter.ToUpstream))
		return filter.Reply
	}
	x.request = append(x.request, b...)
	if end {
		x.send(s, true)
	}
	return filter.Stop
}

// send lets the framed message go.
func (x *instance) send(s filter.Stream, end bool) {
	if n := len(x.request) - frameHead; n >= 0 {
		x.request[1], x.request[2], x.request[3], x.request[4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
		s.Inject(x, filter.ToUpstream, x.request, end)
	}
	s.Resume(x, filter.ToUpstream)
}

// RequestTrailers end the message as well.
func (x *instance) RequestTrailers(s filter.Stream, _ *filter.Headers) filter.Verdict {
	if x.frames {
		x.send(s, false)
	}
	return filter.Continue
}

// ResponseHeaders holds the response, until it is known how it ends.
func (x *instance) ResponseHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if x.frames {
		s.Info().GRPC = true // for the log only: a reply of the proxy's own is plain, as Envoy's
	}
	if !x.bridges || end || h.Status < 200 {
		return filter.Continue
	}
	if x.holds = true; !isGRPC(h.Get("content-type")) {
		x.head = 0 // there is no frame
	}
	s.Buffer(x, filter.ToDownstream, maxBody)
	return filter.Wait
}

// ResponseData takes the frame's head away.
func (x *instance) ResponseData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if !x.holds {
		return filter.Continue
	}
	drop := min(x.head, len(b))
	x.head -= drop
	x.n += len(b) - drop
	if drop > 0 {
		s.Inject(x, filter.ToDownstream, b[drop:], end)
	}
	if end {
		s.Resume(x, filter.ToDownstream)
	}
	if drop > 0 {
		return filter.Stop
	}
	return filter.Continue
}

// ResponseTrailers say how the call went, in the headers.
func (x *instance) ResponseTrailers(s filter.Stream, t *filter.Headers) filter.Verdict {
	if !x.holds {
		return filter.Continue
	}
	h := s.Response()
	if status, ok := t.Lookup("grpc-status"); ok {
		if n, err := strconv.ParseUint(status, 10, 64); err != nil || n != 0 {
			h.Status = 503
		}
		h.Set("grpc-status", status)
	}
	if message, ok := t.Lookup("grpc-message"); ok {
		h.Set("grpc-message", message)
	}
	h.Set("content-length", strconv.Itoa(x.n))
	s.Resume(x, filter.ToDownstream)
	return filter.Continue
}
