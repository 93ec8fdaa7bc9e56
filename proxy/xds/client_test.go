package xds_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/wire"
)

const (
	typeA = "type.googleapis.com/google.protobuf.StringValue"
	typeB = "type.googleapis.com/google.protobuf.Int32Value"
)

// store is a Handler that keeps everything but the value "bad".
type store struct {
	mu    sync.Mutex
	have  map[string]string
	sets  int
	wake  chan struct{}
	onSet func(name string)
}

func newStore() *store { return &store{have: map[string]string{}, wake: make(chan struct{}, 1)} }

func (s *store) apply(u xds.Update) (bad []xds.Rejection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range u.Set {
		v := &wrapperspb.StringValue{}
		if err := r.Body.UnmarshalTo(v); err != nil || v.Value == "bad" {
			bad = append(bad, xds.Rejection{Name: r.Name, Err: errors.New("value: is bad")})
			continue
		}
		s.sets++
		s.have[r.Name] = v.Value
		if s.onSet != nil {
			s.onSet(r.Name)
		}
	}
	for _, n := range u.Removed {
		delete(s.have, n)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return bad
}

func (s *store) until(t *testing.T, what string, ok func(have map[string]string) bool) {
	t.Helper()
	giveUp := time.NewTimer(10 * time.Second)
	defer giveUp.Stop()
	for {
		s.mu.Lock()
		good := ok(s.have)
		s.mu.Unlock()
		if good {
			return
		}
		select {
		case <-s.wake:
		case <-giveUp.C:
			t.Fatalf("never: %s; have %v", what, s.have)
		}
	}
}

func has(name, value string) func(map[string]string) bool {
	return func(m map[string]string) bool { return m[name] == value }
}

// start runs a client against a socket until the test ends.
func start(t *testing.T, sock string, s *store) *xds.Client {
	t.Helper()
	conn, err := xds.Connect(xds.Target{Network: "unix", Address: sock, Metadata: map[string]string{"authorization": "Bearer x"}})
	if err != nil {
		t.Fatal(err)
	}
	c := xds.New(xds.Options{Conn: conn, Node: &corev3.Node{Id: "me"}, Handler: s.apply})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		conn.Close()
	})
	return c
}

func listen(t *testing.T, srv *xdstest.Server, sock string) {
	t.Helper()
	if err := srv.Listen("unix", sock, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
}

func until(t *testing.T, srv *xdstest.Server, what string, ok func(xdstest.View) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if !srv.Until(ok, ctx.Done()) {
		t.Fatalf("the server never saw: %s", what)
	}
}

func TestWildcardAndNames(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	sock := filepath.Join(t.TempDir(), "s")
	srv := xdstest.New()
	srv.Set(typeA, "a", wrapperspb.String("1"))
	srv.Set(typeA, "b", wrapperspb.String("1"))
	s := newStore()
	c := start(t, sock, s) // before the server: the order does not matter
	c.SubscribeAll(typeA)
	listen(t, srv, sock)
	s.until(t, "both", func(m map[string]string) bool { return len(m) == 2 })
	srv.Set(typeA, "b", wrapperspb.String("2"))
	s.until(t, "update", has("b", "2"))
	srv.Remove(typeA, "a")
	s.until(t, "removal", func(m map[string]string) bool { return len(m) == 1 })
	until(t, srv, "token and node", func(v xdstest.View) bool {
		return v.Tokens()[0] == "Bearer x" && v.Requests()[0].Node.GetId() == "me"
	})
}

func TestByNameSubscribeUnsubscribeAgain(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	sock := filepath.Join(t.TempDir(), "s")
	srv := xdstest.New()
	for _, n := range []string{"a", "b", "c"} {
		srv.Set(typeA, n, wrapperspb.String(n))
	}
	listen(t, srv, sock)
	s := newStore()
	c := start(t, sock, s)
	c.Subscribe(typeA, "a")
	s.until(t, "a", has("a", "a"))
	c.Subscribe(typeA, "b")
	s.until(t, "b", has("b", "b"))
	if _, ok := s.have["c"]; ok {
		t.Error("got c, which nobody asked for")
	}
	s.mu.Lock()
	delete(s.have, "a")
	s.mu.Unlock()
	c.Unsubscribe(typeA, "a")
	c.Subscribe(typeA, "a") // at once: the server must send it again
	s.until(t, "a again", has("a", "a"))
	c.Unsubscribe(typeA, "b")
	until(t, srv, "unsubscription", func(v xdstest.View) bool {
		for _, r := range v.Requests() {
			if len(r.ResourceNamesUnsubscribe) == 1 && r.ResourceNamesUnsubscribe[0] == "b" {
				return true
			}
		}
		return false
	})
}

func TestNackNamesTheResourceAndKeepsTheOld(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	sock := filepath.Join(t.TempDir(), "s")
	srv := xdstest.New()
	srv.Set(typeA, "x", wrapperspb.String("good"))
	listen(t, srv, sock)
	s := newStore()
	start(t, sock, s).SubscribeAll(typeA)
	s.until(t, "x", has("x", "good"))
	srv.Set(typeA, "x", wrapperspb.String("bad"))
	until(t, srv, "NACK", func(v xdstest.View) bool { return v.Nack(typeA) == "x: value: is bad" })
	if s.have["x"] != "good" {
		t.Errorf("x is %q", s.have["x"])
	}
	srv.Set(typeA, "y", wrapperspb.String("good"))
	s.until(t, "y, after the NACK", has("y", "good"))
}

func TestReconnectResumesByVersion(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	sock := filepath.Join(t.TempDir(), "s")
	srv := xdstest.New()
	srv.Set(typeA, "same", wrapperspb.String("1"))
	srv.Set(typeA, "new", wrapperspb.String("1"))
	srv.Set(typeA, "gone", wrapperspb.String("1"))
	listen(t, srv, sock)
	s := newStore()
	c := start(t, sock, s)
	c.SubscribeAll(typeA)
	c.Subscribe(typeB, "n")
	s.until(t, "all", func(m map[string]string) bool { return len(m) == 3 })
	until(t, srv, "ACK", func(v xdstest.View) bool { return v.Acks(typeA) >= 1 })
	srv.Stop()
	c.Unsubscribe(typeB, "n") // while the server is away
	srv.Set(typeA, "new", wrapperspb.String("2"))
	srv.Remove(typeA, "gone")
	before := s.sets
	listen(t, srv, sock)
	s.until(t, "resumed", func(m map[string]string) bool { return m["new"] == "2" && len(m) == 2 })
	if got := s.sets - before; got != 1 {
		t.Errorf("%d resources were sent again, want 1", got)
	}
	until(t, srv, "versions", func(v xdstest.View) bool { return len(initial(v)) == 3 })
	until(t, srv, "no request for the type without names", func(v xdstest.View) bool {
		n := 0
		for _, r := range v.Requests() {
			if r.TypeUrl == typeB && r.ResponseNonce == "" {
				n++
			}
		}
		return n == 1
	})
}

func initial(v xdstest.View) map[string]string {
	var last *discoveryv3.DeltaDiscoveryRequest
	for _, r := range v.Requests() {
		if r.TypeUrl == typeA && r.ResponseNonce == "" {
			last = r
		}
	}
	return last.InitialResourceVersions
}

func TestDescribeIsBounded(t *testing.T) {
	var many []xds.Rejection
	for range 25 {
		many = append(many, xds.Rejection{Name: "n", Err: errors.New("e")})
	}
	got := xds.Describe(many).Error()
	if lines := strings.Count(got, "\n") + 1; lines != 21 || !strings.HasSuffix(got, "and 5 more") {
		t.Errorf("%d lines: %s", lines, got)
	}
	if xds.Describe(nil) != nil {
		t.Error("an error for nothing")
	}
}

// TestHealthIsTold: what is known of the program goes to the server, each time that it is
// another, and again on the next stream.
func TestHealthIsTold(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	sock := filepath.Join(t.TempDir(), "s")
	srv := xdstest.New()
	srv.Mute(wire.TypeHealth)
	srv.Set(typeA, "a", wrapperspb.String("1"))
	listen(t, srv, sock)
	c := start(t, sock, newStore())
	c.Subscribe(typeA, "a")
	said := func(v xdstest.View) (out []string) {
		for _, r := range v.Requests() {
			if r.TypeUrl == wire.TypeHealth {
				out = append(out, r.GetErrorDetail().GetMessage())
			}
		}
		return out
	}
	want := func(what string, want ...string) {
		t.Helper()
		until(t, srv, what, func(v xdstest.View) bool { return slices.Equal(said(v), want) })
	}
	c.Health("connection refused")
	want("that it is ill", "connection refused")
	c.Health("")
	want("that it is well", "connection refused", "")
	srv.Stop()
	listen(t, srv, sock)
	want("that it is well, on the next stream", "connection refused", "", "")
}
