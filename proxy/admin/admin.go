// Package admin serves the proxy's administration API under Envoy's paths, its
// metrics, and its health, each where tools look for them:
//
//	API         127.0.0.1:15000 and a unix socket: everything
//	merged      :15020  /stats/prometheus of the proxy and of the program together,
//	            /healthz/ready, /quitquitquit and /drain (POST, from loopback),
//	            /app-health/ and /app-lifecycle/, where programs are asked in the
//	            kubelet's place
//	health      :15021  /healthz/ready
//	prometheus  :15090  /stats/prometheus of the proxy alone
//
// It knows nothing of the data plane: what it shows comes from the functions of
// Options. It never blocks traffic; its sockets are apart from the data path's.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Options of a Server. Functions may be nil: their paths answer 501 then.
type Options struct {
	// API, Merged, Health and Prometheus are the addresses to listen on; empty
	// lists: nowhere. Socket is the path of a unix socket with the whole API.
	API, Merged, Health, Prometheus []string
	Socket                          string

	// Ready says whether the proxy serves traffic; otherwise its state, in Envoy's
	// words, and why.
	Ready func() (bool, string)
	// ServerInfo is marshalled for /server_info.
	ServerInfo func() any
	// ConfigDump returns envoy.admin.v3.ConfigDump as JSON.
	ConfigDump func(DumpQuery) ([]byte, error)
	// Runtime lists layers and values, RuntimeModify overrides them.
	Runtime       func() (layers []string, entries []RuntimeEntry)
	RuntimeModify func(map[string]string) error
	// Clusters writes /clusters, as text or as JSON.
	Clusters func(w io.Writer, asJSON bool) error
	// Listeners returns name and address pairs.
	Listeners func() [][2]string
	// Certs returns what is marshalled for /certs.
	Certs func() any
	// Stats visits Envoy's statistics by their dotted names.
	Stats func(visit func(name string, value uint64))
	// Metrics are the proxy's Prometheus metrics.
	Metrics prometheus.Gatherer
	// Programs are the URLs of the programs' own metrics.
	Programs []string
	// App answers at /app-health/ and /app-lifecycle/ of Merged; nil: nothing does.
	App http.Handler
	// Leave asks clients to go, for the pod is about to end; programs may still call.
	Leave func()
	// Level reads and sets the log level.
	Level *slog.LevelVar
	// Drain stops taking new connections; Quit ends the process in order.
	Drain, Quit func()
	// Fail makes health checks fail, or succeed again.
	Fail func(bool)
	// Listen makes the sockets; nil: Listen.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	Log    *slog.Logger
}

// Server is the API. Make one with New and Run it.
type Server struct {
	Options
	open []socket // made by Open
}

// socket is a listening socket and what is to be found there.
type socket struct {
	net.Listener
	http.Handler
}

// New makes a server.
func New(o Options) *Server {
	if o.Listen == nil {
		o.Listen = Listen
	}
	return &Server{Options: o}
}

// Listen makes a socket. A unix socket replaces the file that is there and is
// closed to other users.
func Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var lc net.ListenConfig
	if network != "unix" {
		return lc.Listen(ctx, network, address)
	}
	if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(address, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Open makes the sockets before Run, which then does not.
func (s *Server) Open(ctx context.Context) error {
	api := s.api()
	health := http.NewServeMux()
	health.HandleFunc("/healthz/ready", s.ready)
	prom := http.NewServeMux()
	prom.HandleFunc("/stats/prometheus", s.prometheus)
	merged := http.NewServeMux()
	merged.HandleFunc("/stats/prometheus", s.merged)
	merged.HandleFunc("/metrics", s.merged)
	merged.HandleFunc("/healthz/ready", s.ready)
	merged.HandleFunc("POST /quitquitquit", fromLoopback(s.quit))
	merged.HandleFunc("POST /drain", fromLoopback(s.leave))
	if s.App != nil {
		merged.Handle("/app-health/", s.App)
		merged.Handle("/app-lifecycle/", s.App)
	}

	open := func(network string, addrs []string, h http.Handler) error {
		for _, a := range addrs {
			l, err := s.Options.Listen(ctx, network, a)
			if err != nil {
				return fmt.Errorf("admin API on %s: %w", a, err)
			}
			s.open = append(s.open, socket{l, h})
		}
		return nil
	}
	err := errors.Join(open("tcp", s.API, api), open("tcp", s.Merged, merged), open("tcp", s.Health, health), open("tcp", s.Prometheus, prom))
	if err == nil && s.Socket != "" {
		err = open("unix", []string{s.Socket}, api)
	}
	if err != nil {
		s.close()
	}
	return err
}

func (s *Server) close() {
	for _, l := range s.open {
		l.Close()
	}
	s.open = nil
}

// Run serves until ctx ends, and answers what has been asked by then.
func (s *Server) Run(ctx context.Context) error {
	if s.open == nil {
		if err := s.Open(ctx); err != nil {
			return err
		}
	}
	defer s.close()
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range s.open {
		s.serve(ctx, g, l.Listener, l.Handler)
	}
	return g.Wait()
}

// lastAnswers is how long answers may take after the end.
const lastAnswers = 500 * time.Millisecond

func (s *Server) serve(ctx context.Context, g *errgroup.Group, l net.Listener, h http.Handler) {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
		ErrorLog:    slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	g.Go(func() error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("admin API on %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
		defer cancel()
		if srv.Shutdown(bound) == nil {
			return nil
		}
		return srv.Close()
	})
}

// api is the whole API. Paths that change something want POST, as in Envoy.
func (s *Server) api() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /{$}", s.help)
	m.HandleFunc("GET /help", s.help)
	m.HandleFunc("GET /ready", s.ready)
	m.HandleFunc("GET /healthz/ready", s.ready)
	m.HandleFunc("GET /server_info", s.serverInfo)
	m.HandleFunc("GET /config_dump", s.configDump)
	m.HandleFunc("GET /clusters", s.clusters)
	m.HandleFunc("GET /listeners", s.listeners)
	m.HandleFunc("GET /certs", s.certs)
	m.HandleFunc("GET /stats", s.stats)
	m.HandleFunc("GET /stats/prometheus", s.merged)
	m.HandleFunc("GET /memory", memory)
	m.HandleFunc("GET /hot_restart_version", hotRestartVersion)
	m.HandleFunc("GET /runtime", s.runtime)
	m.HandleFunc("POST /runtime_modify", s.runtimeModify)
	m.HandleFunc("POST /logging", s.logging)
	m.HandleFunc("POST /drain_listeners", s.drain)
	m.HandleFunc("POST /healthcheck/fail", s.fail(true))
	m.HandleFunc("POST /healthcheck/ok", s.fail(false))
	m.HandleFunc("POST /quitquitquit", s.quit)
	profiles(m)
	return m
}

func (s *Server) help(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `admin commands are:
  /certs: the certificates in use
  /clusters: upstream cluster status (?format=json)
  /config_dump: the configuration that is held (?include_eds, ?resource=, ?name_regex=)
  /debug/pprof/: profiles of the process, for go tool pprof
  /drain_listeners (POST): take no new connections
  /healthcheck/fail, /healthcheck/ok (POST): fail health checks, and ask clients to go; or no more
  /listeners: addresses that are listened on (?format=json)
  /hot_restart_version: none
  /logging (POST): show or set the log level (?level=debug)
  /memory: the heap in use
  /quitquitquit (POST): end the proxy
  /ready: LIVE with 200 when traffic is served
  /runtime: values of the runtime's layers
  /runtime_modify (POST): override them (?key=value)
  /server_info: version, state, uptime
  /stats: statistics by name (?filter=regex, ?usedonly, ?format=json)
  /stats/prometheus: all metrics
`)
}

func missing(w http.ResponseWriter) {
	http.Error(w, "not to be had from this proxy", http.StatusNotImplemented)
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.Ready == nil {
		missing(w)
		return
	}
	if ok, why := s.Ready(); !ok {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "LIVE\n")
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	_ = enc.Encode(v)
}

func (s *Server) serverInfo(w http.ResponseWriter, _ *http.Request) {
	if s.ServerInfo == nil {
		missing(w)
		return
	}
	writeJSON(w, s.ServerInfo())
}

func (s *Server) certs(w http.ResponseWriter, _ *http.Request) {
	if s.Certs == nil {
		missing(w)
		return
	}
	writeJSON(w, s.Certs())
}

func (s *Server) configDump(w http.ResponseWriter, r *http.Request) {
	if s.ConfigDump == nil {
		missing(w)
		return
	}
	q, err := dumpQuery(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	dump, err := s.ConfigDump(q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(dump)
}

func (s *Server) clusters(w http.ResponseWriter, r *http.Request) {
	if s.Clusters == nil {
		missing(w)
		return
	}
	asJSON := r.URL.Query().Get("format") == "json"
	if asJSON {
		w.Header().Set("Content-Type", "application/json")
	}
	if err := s.Clusters(w, asJSON); err != nil {
		s.Log.Debug("clusters not written", "error", err)
	}
}

func (s *Server) listeners(w http.ResponseWriter, r *http.Request) {
	if s.Listeners == nil {
		missing(w)
		return
	}
	list := s.Listeners()
	if r.URL.Query().Get("format") != "json" {
		for _, l := range list {
			fmt.Fprintf(w, "%s::%s\n", l[0], l[1])
		}
		return
	}
	type socket struct {
		Address string `json:"address"`
		Port    string `json:"port_value"`
	}
	type status struct {
		Name  string            `json:"name"`
		Local map[string]socket `json:"local_address"`
	}
	out := []status{}
	for _, l := range list {
		host, port, _ := net.SplitHostPort(l[1])
		out = append(out, status{l[0], map[string]socket{"socket_address": {host, port}}})
	}
	writeJSON(w, map[string]any{"listener_statuses": out})
}

func (s *Server) logging(w http.ResponseWriter, r *http.Request) {
	if s.Level == nil {
		missing(w)
		return
	}
	if want := r.URL.Query().Get("level"); want != "" {
		var l slog.Level
		if want == "trace" {
			want = "debug"
		}
		if err := l.UnmarshalText([]byte(strings.Replace(want, "warning", "warn", 1))); err != nil {
			http.Error(w, fmt.Sprintf("level %q: want trace, debug, info, warning or error", want), http.StatusBadRequest)
			return
		}
		s.Level.Set(l)
	}
	fmt.Fprintf(w, "active loggers:\n  all: %s\n", strings.ToLower(s.Level.Level().String()))
}

func (s *Server) drain(w http.ResponseWriter, _ *http.Request) {
	if s.Drain == nil {
		missing(w)
		return
	}
	s.Drain()
	_, _ = io.WriteString(w, "OK\n")
}

func (s *Server) fail(on bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if s.Fail == nil {
			missing(w)
			return
		}
		s.Fail(on)
		_, _ = io.WriteString(w, "OK\n")
	}
}

func (s *Server) quit(w http.ResponseWriter, _ *http.Request) {
	if s.Quit == nil {
		missing(w)
		return
	}
	_, _ = io.WriteString(w, "OK\n")
	s.Quit()
}

// leave is what a pod that is about to end calls.
func (s *Server) leave(w http.ResponseWriter, _ *http.Request) {
	if s.Leave == nil {
		missing(w)
		return
	}
	s.Leave()
	_, _ = io.WriteString(w, "OK\n")
}

// fromLoopback refuses callers from elsewhere.
func fromLoopback(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if from, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "only from this machine", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}
