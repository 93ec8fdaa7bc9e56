// Peer is a gRPC program for tests: a server that answers who it is and who asked, and
// clients that are told over HTTP whom to call. With -xds both take their
// configuration and credentials from xDS, and need no proxy.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"
)

var (
	xdsMode = flag.Bool("xds", false, "take configuration and credentials from xDS")
	listen  = flag.String("listen", "0.0.0.0:7070", "where the gRPC server listens; empty: no server")
	control = flag.String("control", "0.0.0.0:8081", "where to be told over HTTP whom to call")
)

func main() {
	flag.Parse()
	if *listen != "" {
		go serve()
	}
	c := &clients{conns: map[string]*grpc.ClientConn{}, loads: map[string]*load{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /call", c.call)
	mux.HandleFunc("GET /load", c.load)
	mux.HandleFunc("GET /end", c.end)
	log.Fatal(http.ListenAndServe(*control, mux)) //nolint:gosec // a test's
}

// serve runs the gRPC server.
func serve() {
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	if !*xdsMode {
		s := grpc.NewServer()
		testpb.RegisterTestServiceServer(s, &server{})
		log.Fatal(s.Serve(l))
	}
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		log.Fatal(err)
	}
	s, err := xds.NewGRPCServer(grpc.Creds(creds), xds.ServingModeCallback(func(a net.Addr, c xds.ServingModeChangeArgs) {
		log.Printf("serving mode of %s: %s %v", a, c.Mode, c.Err)
	}))
	if err != nil {
		log.Fatal(err)
	}
	testpb.RegisterTestServiceServer(s, &server{})
	log.Fatal(s.Serve(l))
}

type server struct {
	testpb.UnimplementedTestServiceServer
}

// UnaryCall answers with the name of this program, and who asked: by the certificate
// of the connection, or by what a proxy says of one. A call with the header fail-before
// fails until it was tried that often before.
func (*server) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s := r.GetResponseStatus(); s.GetCode() != 0 {
		return nil, status.Error(codes.Code(s.GetCode()), s.GetMessage()) //nolint:gosec // a test's
	}
	md, _ := metadata.FromIncomingContext(ctx)
	if first(md, "grpc-previous-rpc-attempts") < first(md, "fail-before") {
		return nil, status.Error(codes.Unavailable, "try again")
	}
	return &testpb.SimpleResponse{Hostname: os.Getenv("POD_NAME"), Username: asker(ctx)}, nil
}

// first is a header that is a number; 0: it is not there.
func first(md metadata.MD, name string) int {
	for _, v := range md.Get(name) {
		n, _ := strconv.Atoi(v)
		return n
	}
	return 0
}

func asker(ctx context.Context) string {
	p, _ := peer.FromContext(ctx)
	if t, ok := p.AuthInfo.(credentials.TLSInfo); ok && t.SPIFFEID != nil {
		return t.SPIFFEID.String()
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("x-forwarded-client-cert") {
		for part := range strings.SplitSeq(v, ";") {
			if uri, ok := strings.CutPrefix(part, "URI="); ok {
				return uri
			}
		}
	}
	return ""
}

// clients are the channels that this program has, by target.
type clients struct {
	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
	loads map[string]*load // by the id that its caller gave
}

func (c *clients) client(target string) (testpb.TestServiceClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.conns[target]
	if conn == nil {
		creds := insecure.NewCredentials()
		var err error
		if *xdsMode {
			if creds, err = xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: creds}); err != nil {
				return nil, err
			}
		}
		if conn, err = grpc.NewClient(target, grpc.WithTransportCredentials(creds)); err != nil {
			return nil, err
		}
		c.conns[target] = conn
	}
	return testpb.NewTestServiceClient(conn), nil
}

// Outcome of calls: how many were answered by whom (as whom), and the others' errors.
type outcome struct {
	mu     sync.Mutex
	By     map[string]int `json:"by"`
	Errors map[string]int `json:"errors"`
}

// plan is what a caller asks for.
type plan struct {
	client  testpb.TestServiceClient
	header  metadata.MD
	timeout time.Duration
	// fast: a call fails when there is nobody to call.
	fast    bool
	request *testpb.SimpleRequest
}

func (c *clients) plan(r *http.Request) (plan, error) {
	q := r.URL.Query()
	p := plan{timeout: 5 * time.Second, fast: q.Get("fast") != "", header: metadata.MD{}, request: &testpb.SimpleRequest{}}
	var err error
	if p.client, err = c.client(q.Get("target")); err != nil {
		return p, err
	}
	for _, h := range q["header"] {
		k, v, _ := strings.Cut(h, "=")
		p.header.Append(k, v)
	}
	if t := q.Get("timeout"); t != "" {
		p.timeout, err = time.ParseDuration(t)
	}
	if s := q.Get("status"); s != "" && err == nil {
		var n int
		n, err = strconv.Atoi(s)
		p.request.ResponseStatus = &testpb.EchoStatus{Code: int32(n), Message: "as asked"} //nolint:gosec // a test's
	}
	return p, err
}

// once makes one call.
func (p *plan) once(ctx context.Context, out *outcome) {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(ctx, p.header), p.timeout)
	defer cancel()
	var at peer.Peer
	r, err := p.client.UnaryCall(ctx, p.request, grpc.WaitForReady(!p.fast), grpc.Peer(&at))
	out.mu.Lock()
	defer out.mu.Unlock()
	if err != nil {
		out.Errors[status.Code(err).String()+": "+status.Convert(err).Message()]++
		return
	}
	secured := ""
	if at.AuthInfo != nil {
		secured = at.AuthInfo.AuthType()
	}
	out.By[fmt.Sprintf("%s %s %s", r.GetHostname(), r.GetUsername(), secured)]++
}

// call makes n calls, one after the other.
func (c *clients) call(w http.ResponseWriter, r *http.Request) {
	p, err := c.plan(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	out := newOutcome()
	for range max(n, 1) {
		p.once(r.Context(), out)
	}
	_ = json.NewEncoder(w).Encode(out)
}

func newOutcome() *outcome { return &outcome{By: map[string]int{}, Errors: map[string]int{}} }

// load begins to call without a pause, and answers when the first call was answered.
func (c *clients) load(w http.ResponseWriter, r *http.Request) {
	p, err := c.plan(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	l := &load{stop: cancel, done: make(chan struct{}), out: newOutcome()}
	c.mu.Lock()
	c.loads[r.URL.Query().Get("id")] = l
	c.mu.Unlock()
	p.once(ctx, l.out)
	go func() {
		defer close(l.done)
		for ctx.Err() == nil {
			// Not cut off by the end of the load, which would look like a lost call.
			p.once(context.WithoutCancel(ctx), l.out)
			time.Sleep(time.Millisecond)
		}
	}()
}

// load is calls that go on.
type load struct {
	stop context.CancelFunc
	done chan struct{}
	out  *outcome
}

// end ends a load and answers with its outcome.
func (c *clients) end(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	l := c.loads[r.URL.Query().Get("id")]
	c.mu.Unlock()
	if l == nil {
		http.Error(w, "there is no such load", http.StatusNotFound)
		return
	}
	l.stop()
	<-l.done
	_ = json.NewEncoder(w).Encode(l.out)
}
