package h2

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func netClient(t *testing.T) *http.Client {
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: nil}
	tr.DialTLSContext = dialPlain
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestServerWithNetClient: golang.org/x/net's client against our server, bodies of many sizes.
func TestServerWithNetClient(t *testing.T) {
	for _, slow := range []bool{false, true} {
		addr := serveEcho(t, Options{StreamWindow: 70 << 10, ConnWindow: 100 << 10}, slow)
		client := netClient(t)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				body := make([]byte, i*i*2500)
				_, _ = rand.Read(body)
				req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://%s/p/%d?q", addr, i), bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Host = "shop.example.com"
				req.Header.Set("X-Id", fmt.Sprint(i))
				req.Header.Set("X-Big", strings.Repeat("b", i*1000))
				req.Header.Add("Cookie", "a=b; c=d")
				if len(body) > 0 { // x/net never ends a request that has trailers and no body
					req.Trailer = http.Header{"X-Sum": {"9"}}
				}
				res, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("body of %d bytes came back as %d: %v", len(body), len(got), err)
				}
				if want := fmt.Sprintf("POST shop.example.com /p/%d?q ", i); res.Header.Get("X-Request") != want {
					t.Errorf("request was %q, want %q", res.Header.Get("X-Request"), want)
				}
				if res.Header.Get("X-Got-X-Id") != fmt.Sprint(i) || len(res.Header.Get("X-Got-X-Big")) != i*1000 || res.Header.Get("X-Got-Cookie") != "a=b; c=d" {
					t.Errorf("headers %v", res.Header)
				}
				if len(body) > 0 && res.Trailer.Get("X-Got-X-Sum") != "9" || res.Trailer.Get("X-Trailer") != "t" {
					t.Errorf("trailers %v", res.Trailer)
				}
			})
		}
		wg.Wait()
	}
}

// netServer is golang.org/x/net's server with a handler.
func netServer(t *testing.T, h http.Handler, s *http2.Server) string {
	ln := listen(t)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = ln.Close() })
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.ServeConn(nc, &http2.ServeConnOpts{Handler: h}) })
		}
	})
	return ln.Addr().String()
}

// TestClientWithNetServer: our client against golang.org/x/net's server.
func TestClientWithNetServer(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Request", r.Method+" "+r.Host+" "+r.URL.RequestURI()+" "+r.Header.Get("X-Id"))
		if r.URL.Path == "/hint" {
			w.Header().Set("Link", "x")
			w.WriteHeader(http.StatusEarlyHints)
		}
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n)+r.Trailer.Get("X-T"))
	})
	k := dial(t, netServer(t, handler, &http2.Server{MaxUploadBufferPerStream: 70 << 10, MaxUploadBufferPerConnection: 100 << 10}), Options{StreamWindow: 70 << 10})
	for i := range 20 {
		body := bytes.Repeat([]byte("0123456789"), i*i*300)
		h := &filter.Headers{Method: "POST", Scheme: "http", Authority: "h", Path: fmt.Sprintf("/%d?q", i)}
		h.Add("x-id", fmt.Sprint(i))
		x := k.start(t, h, body, true, nil)
		<-x.done
		if !bytes.Equal(x.body, body) || x.h.Status != 200 || x.h.Get("x-request") != fmt.Sprintf("POST h /%d?q %d", i, i) {
			t.Errorf("%d: %d bytes, status %d, %q", i, len(x.body), x.h.Status, x.h.Get("x-request"))
		}
		if x.t.Get("x-sum") != fmt.Sprint(len(body)) {
			t.Errorf("%d: trailer %q", i, x.t.Get("x-sum"))
		}
	}
	tr := &filter.Headers{}
	tr.Add("x-t", "!")
	h := &filter.Headers{Method: "POST", Scheme: "http", Authority: "h", Path: "/hint"}
	h.Add("trailer", "x-t")
	x := k.start(t, h, []byte("abc"), false, tr)
	<-x.done
	if x.t.Get("x-sum") != "3!" || x.interim.Status != 103 || x.interim.Get("link") != "x" {
		t.Errorf("trailer %q, interim %d, status %d, reset %v", x.t.Get("x-sum"), x.interim.Status, x.h.Status, x.code)
	}
	k.do(func() {
		if k.c.Streams() != 0 || !k.c.KeepAlive() {
			t.Errorf("streams %d, keep alive %v", k.c.Streams(), k.c.KeepAlive())
		}
	})
}

// rawCodec passes bytes through gRPC unchanged.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}
func (rawCodec) Name() string { return "raw" }

var _ encoding.Codec = rawCodec{}

// grpcEcho is a gRPC server that streams back what it gets.
func grpcEcho(_ any, ss grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(ss.Context())
	ss.SetTrailer(metadata.Pairs("x-trailer", strings.Join(md.Get("x-id"), ",")))
	for {
		var b []byte
		switch err := ss.RecvMsg(&b); err {
		case nil:
			if err := ss.SendMsg(&b); err != nil {
				return err
			}
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// TestThroughBothSides: grpc-go's client → our server → our client → grpc-go's server.
func TestThroughBothSides(t *testing.T) {
	upstream := grpc.NewServer(grpc.UnknownServiceHandler(grpcEcho), grpc.ForceServerCodec(rawCodec{}))
	ln := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() { _ = upstream.Serve(ln) })
	t.Cleanup(wg.Wait)
	t.Cleanup(upstream.Stop)
	addr := serveProxy(t, ln.Addr().String())

	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	var calls sync.WaitGroup
	for i := range 16 {
		calls.Go(func() {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-id", fmt.Sprint(i))
			st, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/echo.Echo/Stream")
			if err != nil {
				t.Error(err)
				return
			}
			for size := 1; size < 1<<21; size *= 7 {
				msg := bytes.Repeat([]byte{byte(i)}, size)
				if err := st.SendMsg(&msg); err != nil {
					t.Error(err)
					return
				}
				var got []byte
				if err := st.RecvMsg(&got); err != nil || !bytes.Equal(got, msg) {
					t.Errorf("stream %d: message of %d bytes: %v", i, size, err)
					return
				}
			}
			if err := st.CloseSend(); err != nil {
				t.Error(err)
			}
			var rest []byte
			if err := st.RecvMsg(&rest); err != io.EOF {
				t.Errorf("stream %d ended with %v", i, err)
			}
			if got := st.Trailer().Get("x-trailer"); len(got) != 1 || got[0] != fmt.Sprint(i) {
				t.Errorf("stream %d: trailer %v", i, got)
			}
		})
	}
	calls.Wait()

	ctx, cancel := context.WithCancel(t.Context())
	st, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/echo.Echo/Stream")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	var b []byte
	if err := st.RecvMsg(&b); err == nil {
		t.Error("a cancelled stream received a message")
	}
}

func dialPlain(ctx context.Context, network, addr string, _ *tlsConfig) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}
