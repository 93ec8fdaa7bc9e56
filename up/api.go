package up

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/wire"
)

// serveAPI serves the supervisor's own API; see wire/supervisor.go.
func (m *mesh) serveAPI(ctx context.Context) error {
	l, err := console.Listen(ctx, m.dir.Join(wire.SupervisorSocket))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/mesh", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, m.info()) })
	mux.HandleFunc("GET /v1/instances", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, m.instances(r.Context())) })
	mux.HandleFunc("POST /v1/upgrade", m.serveUpgrade)
	mux.HandleFunc("GET /v1/logs", m.logs)
	mux.HandleFunc("POST /v1/down", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]string{"mesh": m.Name})
		m.down()
	})
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	go func() {
		<-ctx.Done()
		// The answer to /v1/down has to get out first.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = srv.Shutdown(end)
		_ = srv.Close()
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("API of the supervisor: %w", err)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (m *mesh) info() wire.MeshInfo {
	info := wire.MeshInfo{
		Name: m.Name, Folder: m.Folder, RunDir: m.dir.Path, Capture: string(m.host.Capture()), Engine: m.Engine,
		PID: os.Getpid(), Started: m.started, Version: m.Version,
		Applied: m.applied.Load(), URLs: m.addresses(), CaptureRange: cmp.Or(m.CaptureRange, wire.CaptureAll),
	}
	for _, p := range m.VIPRange.Prefixes() {
		info.VIPs = append(info.VIPs, p.String())
	}
	return info
}

// generationBound is how long a proxy may take to say who it is.
const generationBound = 500 * time.Millisecond

func (m *mesh) instances(ctx context.Context) []wire.Instance {
	m.mu.Lock()
	control := m.ctlState
	m.mu.Unlock()
	list := m.host.Instances()
	ctx, cancel := context.WithTimeout(ctx, generationBound)
	defer cancel()
	var wg sync.WaitGroup
	for i := range list {
		wg.Go(func() {
			if st, ok := m.host.Generations(ctx, list[i].Namespace+"/"+list[i].Name); ok {
				list[i].Proxy = &st
			}
		})
	}
	wg.Wait()
	return append(list, control)
}

// controlEvent follows the control plane's process.
func (m *mesh) controlEvent(e process.Event) {
	m.mu.Lock()
	c := &m.ctlState
	c.Name, c.Kind, c.App = "control", "control", "control"
	c.Restarts = e.Restarts
	switch e.Kind {
	case process.Started:
		c.PID, c.Started = e.PID, e.Time
	case process.Ready:
		c.State, c.Message = "ready", ""
	case process.Exited, process.Failed:
		c.State, c.PID = "restarting", 0
		c.Message = e.Exit.String()
	case process.Stopped:
		c.State = "stopped"
	case process.Starting:
		c.State = "starting"
	}
	m.mu.Unlock()
	if e.Kind == process.Exited || e.Kind == process.Failed {
		m.died("control plane", host.Event{
			Kind: map[process.Kind]host.EventKind{process.Exited: host.Exited, process.Failed: host.Failed}[e.Kind],
			Exit: e.Exit, Err: e.Err, Lines: e.Lines, Again: e.Again,
		})
	}
}

// logs writes what one instance, or all programs, said.
func (m *mesh) logs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	tail, err := strconv.Atoi(q.Get("tail"))
	if err != nil || tail < 0 {
		tail = 100
	}
	name := q.Get("instance")
	var log *process.Log
	if name == "control" {
		log = m.ctlLog
	} else {
		part := host.PartProgram
		if q.Get("proxy") == "true" {
			part = host.PartProxy
		}
		log = m.host.Log(name, part)
	}
	if log == nil {
		w.WriteHeader(http.StatusNotFound)
		writeJSON(w, map[string]string{"error": fmt.Sprintf("no instance %q that writes such a log: `weft status` lists them", name)})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if q.Get("follow") != "true" {
		_, _ = fmt.Fprint(w, strings.Join(append(log.Tail(tail), ""), "\n"))
		return
	}
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	_ = log.Follow(r.Context(), tail, func(line string) error {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
		return rc.Flush()
	})
}

// listening notes a port of the host that a gateway listens on. Those that the
// supervisor itself listens on, host lists.
func (m *mesh) listening(e host.Event) {
	m.mu.Lock()
	scheme := cmp.Or(e.Scheme, m.schemes[e.Asked.Port()], "tcp")
	u := wire.URL{URL: scheme + "://" + e.Got.String(), For: "gateway port " + strconv.Itoa(int(e.Asked.Port())), Note: e.Message}
	known := slices.ContainsFunc(m.urls, func(x wire.URL) bool { return x.URL == u.URL })
	if !known {
		m.urls = append(m.urls, u)
	}
	m.mu.Unlock()
	if !known {
		m.report.say(faint, "%s is open%s", u.URL, parenthesis(u.Note))
	}
}

func parenthesis(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// addresses lists everything that can be opened from the host.
func (m *mesh) addresses() []wire.URL {
	out := m.host.URLs()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.urls {
		if !slices.ContainsFunc(out, func(x wire.URL) bool { return x.URL == u.URL }) {
			out = append(out, u)
		}
	}
	return out
}
