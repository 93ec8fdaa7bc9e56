package http

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/transport"
)

type text = wrapperspb.StringValue

// grpcServer serves "/t.T/Chat", which answers each message with itself, until
// "fail", and sets a trailer.
func grpcServer(t *testing.T, first func() error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
		if first != nil {
			if err := first(); err != nil {
				return err
			}
		}
		ss.SetTrailer(metadata.Pairs("x-end", "yes"))
		for {
			m := &text{}
			if err := ss.RecvMsg(m); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			if m.Value == "fail" {
				return status.Error(codes.FailedPrecondition, "as you wish")
			}
			if err := ss.SendMsg(m); err != nil {
				return err
			}
		}
	}))
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return ln.Addr().String()
}

func grpcClient(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

func grpcSpec(addrs ...string) *cluster.Spec {
	s := upstreamSpec("up", addrs...)
	s.Protocol = cluster.HTTP2
	return s
}

func chat(t *testing.T, cc *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/t.T/Chat")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGRPCStreams: both directions at once, message by message, with trailers.
func TestGRPCStreams(t *testing.T) {
	k := start(t, routes(to("up")), nil, grpcSpec(grpcServer(t, nil)))
	cc := grpcClient(t, k.addr)
	s := chat(t, cc)
	for range 50 {
		if err := s.SendMsg(wrapperspb.String("ping")); err != nil {
			t.Fatal(err)
		}
		m := &text{}
		if err := s.RecvMsg(m); err != nil || m.Value != "ping" {
			t.Fatalf("%v %v", m, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&text{}); !errors.Is(err, io.EOF) {
		t.Fatalf("end: %v", err)
	}
	if got := s.Trailer().Get("x-end"); len(got) != 1 {
		t.Errorf("trailer: %v", s.Trailer())
	}
	// The server ends first.
	s = chat(t, cc)
	if err := s.SendMsg(wrapperspb.String("fail")); err != nil {
		t.Fatal(err)
	}
	err := s.RecvMsg(&text{})
	if status.Code(err) != codes.FailedPrecondition || status.Convert(err).Message() != "as you wish" {
		t.Errorf("got %v", err)
	}
	// The client gives up.
	ctx, cancel := context.WithCancel(t.Context())
	s, err = cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/t.T/Chat")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(wrapperspb.String("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.RecvMsg(&text{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	balanced(t, k)
}

// TestGRPCRetry: by status, in a head that is all there is.
func TestGRPCRetry(t *testing.T) {
	var n atomic.Int64
	addr := grpcServer(t, func() error {
		if n.Add(1) <= 2 {
			return status.Error(codes.Unavailable, "not yet")
		}
		return nil
	})
	k := start(t, routes(to("up", retry(route.RetryPolicy{On: route.RetryGRPCUnavailable, Retries: 3}))), nil, grpcSpec(addr))
	out := &text{}
	if err := grpcClient(t, k.addr).Invoke(t.Context(), "/t.T/Chat", wrapperspb.String("again"), out); err != nil || out.Value != "again" {
		t.Errorf("%v %v after %d tries", out, err, n.Load())
	}
	balanced(t, k)
}

// TestGRPCLocal: failures of the proxy's own making are gRPC statuses.
func TestGRPCLocal(t *testing.T) {
	k := start(t, routes(to("up")), nil, grpcSpec(dead(t)))
	err := grpcClient(t, k.addr).Invoke(t.Context(), "/t.T/Chat", wrapperspb.String("x"), &text{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	if e := k.log.next(t); e.Status != 200 || e.Flags != "UF" {
		t.Errorf("log %+v", e)
	}
}

// TestGRPCTimeoutHeader: the route lets the caller's deadline be the timeout.
func TestGRPCTimeoutHeader(t *testing.T) {
	gate := make(chan struct{})
	addr := grpcServer(t, func() error { <-gate; return nil })
	limit := 50 * time.Millisecond
	k := start(t, routes(to("up", func(f *route.Forward) { f.GRPCTimeoutMax = &limit })), nil, grpcSpec(addr))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	err := grpcClient(t, k.addr).Invoke(ctx, "/t.T/Chat", wrapperspb.String("x"), &text{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want the proxy's Unavailable", err)
	}
	if e := k.log.next(t); e.Details != "response_timeout" {
		t.Errorf("log %+v", e)
	}
	close(gate)
}

// handshaker is a client's TLS that trusts everybody.
type handshaker struct{}

func (handshaker) Handshake(ctx context.Context, nc net.Conn, h transport.ClientHello) (net.Conn, error) {
	c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, NextProtos: h.ALPN, ServerName: h.SNI}) //nolint:gosec // a test
	return c, c.HandshakeContext(ctx)
}

// TestALPN: the handshake with the upstream chooses the version.
func TestALPN(t *testing.T) {
	for _, two := range []bool{false, true} {
		s := httptest.NewUnstartedServer(nethttp.HandlerFunc(echo))
		s.EnableHTTP2 = two
		s.StartTLS()
		t.Cleanup(s.Close)
		spec := upstreamSpec("up", s.Listener.Addr().String())
		spec.Protocol, spec.TLS = cluster.AutoALPN, handshaker{}
		k := start(t, routes(to("up")), nil, spec)
		want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[two]
		protos := make(chan string, 8)
		for range cap(protos) {
			c := client(t)
			go func() {
				res, err := c.Do(request(t, "GET", k.url("/"), nil))
				if err != nil {
					protos <- err.Error()
					return
				}
				res.Body.Close()
				protos <- res.Header.Get("x-proto")
			}()
		}
		for range cap(protos) {
			if got := <-protos; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		balanced(t, k)
	}
}
