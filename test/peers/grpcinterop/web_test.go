package grpcinterop

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// webConn speaks gRPC-Web over HTTP/1.1, also where a browser cannot: with
// several messages in both directions at once. In its text form all messages
// of a request are one text, so a message may wait for the next or the end.
type webConn struct {
	http *http.Client
	addr string
	text bool
}

func (c *webConn) contentType() string {
	if c.text {
		return "application/grpc-web-text+proto"
	}
	return "application/grpc-web+proto"
}

// Invoke implements grpc.ClientConnInterface.
func (c *webConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := c.NewStream(ctx, nil, method, opts...)
	if err != nil {
		return err
	}
	_ = st.SendMsg(args) // its failure shows when receiving
	_ = st.CloseSend()
	if err := st.RecvMsg(reply); err != nil {
		return err
	}
	if err := st.RecvMsg(reply); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the only message: %w", err)
	}
	return nil
}

// NewStream implements grpc.ClientConnInterface.
func (c *webConn) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	pr, pw := io.Pipe()
	context.AfterFunc(ctx, func() { pr.CloseWithError(ctx.Err()) }) // net/http waits for what it sends
	s := &webStream{conn: c, ctx: ctx, opts: opts, out: pw, answered: make(chan struct{})}
	if c.text {
		s.out = textWriter{base64.NewEncoder(base64.StdEncoding, pw), pw}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.addr+method, pr)
	if err != nil {
		return nil, err
	}
	md, _ := metadata.FromOutgoingContext(ctx)
	for k, vs := range md {
		for _, v := range vs {
			req.Header.Add(k, encodeValue(k, v))
		}
	}
	req.Header.Set("content-type", c.contentType())
	req.Header.Set("accept", c.contentType())
	req.Header.Set("x-grpc-web", "1")
	go func() {
		defer close(s.answered)
		s.res, s.err = c.http.Do(req) //nolint:bodyclose // closed where the stream ends, or by its context
		if s.err == nil {
			s.head()
		}
	}()
	return s, nil
}

// webStream is one call.
type webStream struct {
	conn *webConn
	ctx  context.Context //nolint:containedctx // as grpc.ClientStream has it
	opts []grpc.CallOption
	out  io.WriteCloser

	answered        chan struct{} // closed when those below are there
	res             *http.Response
	err             error
	in              io.Reader
	header, trailer metadata.MD
}

// head takes what came before the first message.
func (s *webStream) head() {
	if got := s.res.Header.Get("content-type"); s.res.StatusCode != http.StatusOK || got != s.conn.contentType() {
		s.err = fmt.Errorf("status %d, content-type %q", s.res.StatusCode, got)
		return
	}
	s.header = metadata.MD{}
	for k, vs := range s.res.Header {
		for _, v := range vs {
			s.header.Append(k, decodeValue(k, v))
		}
	}
	for _, o := range s.opts {
		if o, ok := o.(grpc.HeaderCallOption); ok {
			*o.HeaderAddr = s.header
		}
	}
	s.in = s.res.Body
	if s.conn.text {
		s.in = &textReader{in: s.res.Body}
	}
}

func (s *webStream) SendMsg(m any) error {
	b, err := marshal(m)
	if err != nil {
		return err
	}
	_, err = s.out.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...))
	if err != nil {
		return io.EOF // as grpc.ClientStream says it
	}
	return nil
}

func marshal(m any) ([]byte, error) {
	if m, ok := m.(proto.Message); ok {
		return proto.Marshal(m)
	}
	return nil, nil
}

func (s *webStream) CloseSend() error         { return s.out.Close() }
func (s *webStream) Context() context.Context { return s.ctx }
func (s *webStream) Trailer() metadata.MD     { return s.trailer }

func (s *webStream) Header() (metadata.MD, error) {
	<-s.answered
	return s.header, s.failure(s.err)
}

// failure makes an error a status, as the peers' cases want it.
func (s *webStream) failure(err error) error {
	if err == nil {
		return nil
	}
	if s.ctx.Err() != nil {
		return status.FromContextError(s.ctx.Err()).Err()
	}
	return status.Error(codes.Unavailable, err.Error())
}

func (s *webStream) RecvMsg(m any) error {
	if <-s.answered; s.err != nil {
		return s.failure(s.err)
	}
	if st := s.header.Get("grpc-status"); len(st) == 1 {
		s.trailer = s.header
		return s.end()
	}
	var head [5]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return s.failure(fmt.Errorf("no frame: %w", err))
	}
	b := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(s.in, b); err != nil {
		return s.failure(fmt.Errorf("a frame of %d: %w", len(b), err))
	}
	if head[0]&0x80 == 0 {
		return proto.Unmarshal(b, m.(proto.Message))
	}
	s.trailer = metadata.MD{}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte("\r\n")), []byte("\r\n")) {
		k, v, _ := strings.Cut(string(line), ":")
		s.trailer.Append(k, decodeValue(k, v))
	}
	if rest, err := io.ReadAll(s.in); err != nil || len(rest) > 0 {
		return s.failure(fmt.Errorf("after the trailers: %d bytes, %w", len(rest), err))
	}
	return s.end()
}

// end is the stream's status, io.EOF when it is good.
func (s *webStream) end() error {
	s.res.Body.Close()
	for _, o := range s.opts {
		if o, ok := o.(grpc.TrailerCallOption); ok {
			*o.TrailerAddr = s.trailer
		}
	}
	code, err := strconv.Atoi(strings.Join(s.trailer.Get("grpc-status"), ","))
	if err != nil {
		return s.failure(fmt.Errorf("grpc-status: %w", err))
	}
	if code == 0 {
		return io.EOF
	}
	text, err := url.PathUnescape(strings.Join(s.trailer.Get("grpc-message"), ","))
	if err != nil {
		return s.failure(err)
	}
	return status.Error(codes.Code(code), text)
}

func encodeValue(name, v string) string {
	if strings.HasSuffix(strings.ToLower(name), "-bin") {
		return base64.RawStdEncoding.EncodeToString([]byte(v))
	}
	return v
}

func decodeValue(name, v string) string {
	if strings.HasSuffix(strings.ToLower(name), "-bin") {
		if b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "=")); err == nil {
			return string(b)
		}
	}
	return v
}

// textWriter ends the text, then the request.
type textWriter struct {
	io.WriteCloser
	pipe *io.PipeWriter
}

func (w textWriter) Close() error {
	if err := w.WriteCloser.Close(); err != nil {
		return err
	}
	return w.pipe.Close()
}

// textReader decodes base64 that may be padded anywhere: each frame is a text
// of its own.
type textReader struct {
	in   io.Reader
	left []byte
}

func (r *textReader) Read(b []byte) (int, error) {
	if len(r.left) == 0 {
		var four [4]byte
		if _, err := io.ReadFull(r.in, four[:]); err != nil {
			return 0, err
		}
		var err error
		if r.left, err = base64.StdEncoding.DecodeString(string(four[:])); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}
