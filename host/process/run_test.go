package process_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/host/process"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "program" {
		program(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

// program is what the tests run.
func program(what string) {
	switch what {
	case "crash":
		fmt.Println("first words")
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(3)
	case "polite":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("up")
		<-c
		fmt.Println("bye")
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		select {}
	case "true":
	case "false":
		os.Exit(1)
	}
}

// watch collects events.
type watch struct {
	mu  sync.Mutex
	all []process.Event
	ch  chan process.Event
}

func newWatch() *watch { return &watch{ch: make(chan process.Event, 1000)} }

func (w *watch) notify(e process.Event) {
	w.mu.Lock()
	w.all = append(w.all, e)
	w.mu.Unlock()
	w.ch <- e
}

// next returns the next event of the kind.
func (w *watch) next(t *testing.T, k process.Kind) process.Event {
	t.Helper()
	limit := time.After(60 * time.Second)
	for {
		select {
		case e := <-w.ch:
			if e.Kind == k {
				return e
			}
		case <-limit:
			t.Fatalf("no event %d; there were %+v", k, w.all)
		}
	}
}

type kept struct {
	*watch
	log    *process.Log
	keeper *process.Keeper
	stop   func()
}

func keep(t *testing.T, p process.Program, args ...string) *kept {
	t.Helper()
	log, err := process.NewLog(filepath.Join(t.TempDir(), "log"), 0)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.Name = "test"
	p.Command = append([]string{exe, "program"}, args...)
	p.Address = netip.MustParseAddr("127.0.0.1")
	w := newWatch()
	k := &process.Keeper{Program: p, Starter: process.Local{}, Log: log, Notify: w.notify, Backoff: backoff.Backoff{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-done; log.Close() })
	t.Cleanup(stop)
	return &kept{w, log, k, stop}
}

func TestCrashIsNamedAndRestarted(t *testing.T) {
	k := keep(t, process.Program{}, "crash")
	for n := range 3 {
		e := k.next(t, process.Exited)
		if e.Exit.Code != 3 || e.Restarts != n {
			t.Errorf("%+v, want exit code 3 and %d restarts", e, n)
		}
		slices.Sort(e.Lines) // two pipes have no order
		if want := []string{"first words", "last words"}; !slices.Equal(e.Lines, want) {
			t.Errorf("last lines: %q, want %q: those of this run", e.Lines, want)
		}
		if e.Again <= 0 {
			t.Error("is not said to be started again")
		}
	}
}

func TestStopsPolitely(t *testing.T) {
	k := keep(t, process.Program{}, "polite")
	k.next(t, process.Ready)
	waitLine(t, k.log, "up")
	k.stop()
	if e := k.next(t, process.Stopped); e.Exit != (process.Exit{}) {
		t.Errorf("%+v, want exit code 0", e)
	}
	if got := k.log.Tail(1); len(got) != 1 || got[0] != "bye" {
		t.Errorf("last line %q, want bye", got)
	}
}

func TestStopsTheStubborn(t *testing.T) {
	k := keep(t, process.Program{Grace: 50 * time.Millisecond}, "stubborn")
	waitLine(t, k.log, "up")
	k.stop()
	if e := k.next(t, process.Stopped); e.Exit.Signal != syscall.SIGKILL {
		t.Errorf("%+v, want SIGKILL", e)
	}
	if got := strings.Join(k.log.Tail(1), ""); !strings.Contains(got, "SIGKILL") {
		t.Errorf("the log does not say so: %q", got)
	}
}

func TestRestart(t *testing.T) {
	k := keep(t, process.Program{}, "polite")
	first := k.next(t, process.Started)
	waitLine(t, k.log, "up")
	k.keeper.Restart()
	second := k.next(t, process.Started)
	if first.PID == second.PID {
		t.Error("the same process")
	}
}

func TestNotFound(t *testing.T) {
	k := keep(t, process.Program{Prepare: func(context.Context, *process.Log) ([]string, error) {
		return []string{"/no/such/program"}, nil
	}})
	e := k.next(t, process.Failed)
	if !errors.Is(e.Err, os.ErrNotExist) {
		t.Errorf("%v", e.Err)
	}
}

func waitLine(t *testing.T, l *process.Log, want string) {
	t.Helper()
	found := errors.New("found")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	err := l.Follow(ctx, 1000, func(line string) error {
		if line == want {
			return found
		}
		return nil
	})
	if !errors.Is(err, found) {
		t.Fatalf("no line %q in %q", want, l.Tail(1000))
	}
}

func TestProbes(t *testing.T) {
	httpPort := serveHTTP(t)
	grpcPort := serveGRPC(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		probe process.Probe
		want  process.Kind
	}{
		{"http", process.Probe{HTTPPath: "/healthz", Port: httpPort, HTTPHeaders: map[string]string{"Host": "a.example", "X-Probe": "1"}}, process.Ready},
		{"grpc", process.Probe{GRPC: true, Port: grpcPort}, process.Ready},
		{"grpc service", process.Probe{GRPC: true, GRPCService: "books", Port: grpcPort}, process.Ready},
		{"tcp", process.Probe{TCP: true, Port: httpPort}, process.Ready},
		{"exec", process.Probe{Exec: []string{exe, "program", "true"}, Timeout: 15 * time.Second}, process.Ready},
		{"nobody listens, but it is given up", process.Probe{TCP: true, Port: 1, GiveUp: 100 * time.Millisecond}, process.Ready},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := keep(t, process.Program{Probe: &tc.probe}, "polite")
			if e := k.next(t, tc.want); (e.Err != nil) != (tc.probe.GiveUp > 0) {
				t.Errorf("error %v", e.Err)
			}
		})
	}
}

func TestProbeFails(t *testing.T) {
	var mu sync.Mutex
	status := 503
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
	})}
	go srv.Serve(ln)
	defer srv.Close()
	set := func(s int) { mu.Lock(); defer mu.Unlock(); status = s }
	k := keep(t, process.Program{Probe: &process.Probe{
		HTTPPath: "/", Port: uint16(ln.Addr().(*net.TCPAddr).Port), Period: 5 * time.Millisecond, Failure: 2,
	}}, "polite")
	k.next(t, process.Started)
	set(200)
	k.next(t, process.Ready)
	set(503)
	if e := k.next(t, process.Unready); e.Err == nil || !strings.Contains(e.Err.Error(), "status 503") {
		t.Errorf("%v", e.Err)
	}
	set(301)
	k.next(t, process.Ready)
}

func serveHTTP(t *testing.T) uint16 {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && (r.Host != "a.example" || r.Header.Get("X-Probe") != "1") {
			w.WriteHeader(400)
		}
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

func serveGRPC(t *testing.T) uint16 {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	h := health.NewServer()
	h.SetServingStatus("books", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(srv, h)
	go srv.Serve(ln)
	t.Cleanup(srv.Stop)
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}
