package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/proxy/filter"
)

// Service is a gRPC service behind a cluster, which must speak HTTP/2.
type Service struct {
	Caller  filter.Caller
	Cluster string
	// Authority is the cluster's name when empty.
	Authority string
	// Timeout of each call, 0: none.
	Timeout time.Duration
	// Metadata goes with each call.
	Metadata []filter.Field
}

// Unary calls a method ("/package.Service/Method") and reads its answer into out
// before done is called, which is as with filter.Caller. Errors are gRPC statuses.
func (s *Service) Unary(method string, in, out proto.Message, done func(error)) (cancel func()) {
	body, err := frame(in)
	if err != nil {
		done(status.Error(codes.Internal, err.Error()))
		return func() {}
	}
	h := &filter.Headers{Method: http.MethodPost, Path: method, Authority: s.Authority}
	if h.Authority == "" {
		h.Authority = s.Cluster
	}
	h.Add("te", "trailers")
	h.Add("content-type", "application/grpc")
	if s.Timeout > 0 {
		h.Add("grpc-timeout", strconv.FormatInt(max(s.Timeout.Milliseconds(), 1), 10)+"m")
	}
	for _, f := range s.Metadata {
		h.Add(f.Name, f.Value)
	}
	c := &filter.Call{Cluster: s.Cluster, Header: h, Body: body, Timeout: s.Timeout}
	return s.Caller.Call(c, func(a *filter.Answer, err error) {
		switch {
		case errors.Is(err, ErrTimeout):
			done(status.Error(codes.DeadlineExceeded, err.Error()))
		case err != nil:
			done(status.Error(codes.Unavailable, err.Error()))
		default:
			done(read(a, out))
		}
	})
}

// prefix is the length of what stands before a message.
const prefix = 5

func frame(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, prefix, prefix+proto.Size(m)), m)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-prefix))
	return b, nil
}

// read takes an answer apart: status first, then the message.
func read(a *filter.Answer, out proto.Message) error {
	if a.Header.Status != http.StatusOK {
		return status.Error(ofHTTP(a.Header.Status), fmt.Sprintf("HTTP status %d", a.Header.Status))
	}
	t := a.Trailer
	if t == nil {
		t = a.Header // a response that is nothing but trailers
	}
	code, err := strconv.ParseUint(t.Get("grpc-status"), 10, 32)
	if err != nil {
		return status.Error(codes.Unknown, "the answer has no gRPC status")
	}
	if code != 0 {
		msg, err := url.PathUnescape(t.Get("grpc-message"))
		if err != nil {
			msg = t.Get("grpc-message")
		}
		return status.Error(codes.Code(code), msg)
	}
	b := a.Body
	if len(b) < prefix || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-prefix) {
		return status.Error(codes.Internal, "the answer is no single message without compression")
	}
	if err := proto.Unmarshal(b[prefix:], out); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

// ofHTTP maps the status of an answer that is not gRPC.
func ofHTTP(s int) codes.Code {
	switch s {
	case http.StatusBadRequest:
		return codes.Internal
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return codes.Unavailable
	}
	return codes.Unknown
}
