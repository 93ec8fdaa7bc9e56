// Package grpcweb is the HTTP filter envoy.filters.http.grpc_web: it lets
// browsers, which know no trailers, call gRPC services. Requests become gRPC;
// the trailers of a response become the last frame of its body, and with
// application/grpc-web-text both directions are base64.
//
// Bytes pass as they come; nothing is held but up to three bytes that make no group of
// base64 yet, and the start of a response that is not gRPC. Where a frame of a text
// response ends the base64 is padded, as Envoy does it: clients may decode frame by frame.
package grpcweb

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.grpc_web"

// Content types.
const (
	web      = "application/grpc-web"
	webProto = "application/grpc-web+proto"
	text     = "application/grpc-web-text"
	textPB   = "application/grpc-web-text+proto"
)

type factory struct{}

// New implements filter.HTTPFactory.
func (factory) New(s filter.Stream) filter.HTTPFilter {
	switch s.Request().Get("content-type") {
	case web, webProto:
		return &instance{}
	case text, textPB:
		return &instance{textIn: true}
	}
	return nil
}

type instance struct {
	filter.PassThrough
	textIn, textOut bool
	in              []byte // base64 that is no group of four yet
	out             groups // of the response, as base64
	foreign         bool   // the response is not gRPC
	body            []byte // of such a one
}

// RequestHeaders makes the request gRPC.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	h.Del("content-length")
	switch h.Get("accept") {
	case text, textPB:
		x.textOut = true
	}
	h.Set("content-type", "application/grpc")
	h.Set("te", "trailers")
	h.Set("grpc-accept-encoding", "identity")
	s.Info().GRPC = true
	return filter.Continue
}

// RequestData decodes base64.
func (x *instance) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if !x.textIn {
		return filter.Continue
	}
	x.in = append(x.in, b...)
	n := len(x.in) / 4 * 4
	if end && n != len(x.in) {
		return x.bad(s)
	}
	out, err := base64.StdEncoding.AppendDecode(nil, x.in[:n])
	if err != nil {
		return x.bad(s)
	}
	x.in = x.in[:copy(x.in, x.in[n:])]
	if len(out) > 0 || end {
		s.Inject(x, filter.ToUpstream, out, end)
	}
	return filter.Stop
}

func (x *instance) bad(s filter.Stream) filter.Verdict {
	s.Info().GRPC = false // the answer is plain, as Envoy's
	s.Reply(filter.LocalReply{
		Status: 400, GRPCStatus: -1, Body: "Bad gRPC-web request, invalid base64 data.", Details: "grpc_base_64_decode_failed",
	})
	return filter.Reply
}

// ResponseHeaders makes the response gRPC-Web.
func (x *instance) ResponseHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	kind := h.Get("content-type")
	x.foreign = !end && !isGRPC(kind) && kind != webProto && kind != textPB
	if !x.foreign {
		x.setType(h)
		if !end {
			h.Del("content-length") // the trailers will be part of the body
		}
		return filter.Continue
	}
	return filter.Wait
}

func (x *instance) setType(h *filter.Headers) {
	if x.textOut {
		h.Set("content-type", textPB)
	} else {
		h.Set("content-type", webProto)
	}
}

func isGRPC(kind string) bool {
	rest, ok := strings.CutPrefix(kind, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// maxForeign bounds the text of a response that is not gRPC, which becomes grpc-message.
const maxForeign = 16 << 10

// translate makes a response that is not gRPC one that says the same by its status.
func (x *instance) translate(s filter.Stream) {
	h := s.Response()
	status := filter.GRPCOfHTTP(h.Status)
	x.setType(h)
	h.Set("grpc-status", strconv.Itoa(status))
	if len(x.body) > 0 {
		h.Set("grpc-message", filter.GRPCMessage(string(x.body)))
	}
	h.Set("content-length", "0")
}

// ResponseData encodes base64, or takes a foreign body in.
func (x *instance) ResponseData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if x.foreign {
		x.body = append(x.body, b[:min(len(b), maxForeign-len(x.body))]...)
		if end {
			x.finish(s)
		}
		return filter.Stop
	}
	if !x.textOut {
		return filter.Continue
	}
	out := x.out.encode(b)
	if end {
		out = x.out.flush(out)
	}
	if len(out) > 0 || end {
		s.Inject(x, filter.ToDownstream, out, end)
	}
	return filter.Stop
}

// finish sends a translated response, which has no body.
func (x *instance) finish(s filter.Stream) {
	x.translate(s)
	s.Inject(x, filter.ToDownstream, nil, true)
	s.Resume(x, filter.ToDownstream)
}

// ResponseTrailers makes them a frame.
func (x *instance) ResponseTrailers(s filter.Stream, h *filter.Headers) filter.Verdict {
	if x.foreign {
		x.finish(s)
		return filter.Stop
	}
	frame := []byte{0x80, 0, 0, 0, 0}
	for i := range h.Len() {
		f := h.At(i)
		frame = append(append(append(append(frame, f.Name...), ':'), f.Value...), '\r', '\n')
	}
	n := len(frame) - 5
	frame[1], frame[2], frame[3], frame[4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	if x.textOut {
		frame = base64.StdEncoding.AppendEncode(x.out.flush(nil), frame)
	}
	s.Inject(x, filter.ToDownstream, frame, true)
	return filter.Stop
}
