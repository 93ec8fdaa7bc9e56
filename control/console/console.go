// Package console is the control plane's own API: JSON over HTTP on a unix
// socket that only its user may open. The command line and the supervisor of
// `weft up` read it; nothing of the data plane does.
//
// It reads published state and changes nothing, but for apply and delete, which
// it hands to the store it was given. Errors are a status and a sentence,
// {"error": "…"}; the streams (/v1/events, /v1/local) are one JSON value per line
// until either side goes.
package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
)

// Proxies is what the console needs of the fleet.
type Proxies interface {
	// Learned are the hosts that workloads of a ServiceFence use; see fleet.Fleet.
	Learned(fence model.Key) (used map[string]time.Time, lately time.Duration)
	Status() []fleet.ProxyStatus
	Findings() []model.Finding
	Config(proxy string) *serve.State
	Reach(keys []model.Key) map[model.Key]fleet.Reach
	History(k model.Key, now []model.Finding) fleet.History
	Subscribe() (<-chan fleet.Event, func())
	Members() []fleet.Member
}

// Store keeps objects that users apply.
type Store interface {
	// Apply takes YAML documents and says for each what became of it.
	Apply(data []byte, name string) []Applied
	// Delete removes an object, wherever it was read from.
	Delete(k model.Key) Applied
	// Remove deletes the objects that YAML documents name.
	Remove(data []byte, name string) []Applied
	// Raw returns an object as it was written; nothing for one that nobody wrote.
	Raw(k model.Key, o model.Origin) ([]byte, error)
}

// Applied says what became of one object.
type Applied struct {
	Object model.Key `json:"object"`
	// Result is "created", "configured", "unchanged", "deleted", "not found";
	// "ignored" when the document means nothing here, "invalid" when it was refused,
	// "failed" when it was good and could not be kept.
	Result   string          `json:"result"`
	Findings []model.Finding `json:"findings,omitempty"`
}

// Options of a Console.
type Options struct {
	// Socket is the path of the unix socket.
	Socket    string
	Snapshots fleet.Snapshots
	// Said is what the sources have said: snapshot.Publisher's.
	Said func(context.Context) ([]model.Delta, error)
	// Registries is how it stands with the registries that are followed; nil: none are.
	Registries func() []model.RegistryStatus
	Proxies    Proxies
	Store      Store
	// Inviter makes join tokens; nil: nobody may join from elsewhere.
	Inviter Inviter
	Metrics prometheus.Gatherer
	// Version of the program, and what it was started with.
	Version, ConfigMode, CaptureRange, VIPRange string
	Families                                    []int
	Log                                         *slog.Logger
}

// Console serves the API. Make one with New and Run it.
type Console struct {
	Options
	mux *http.ServeMux

	transitions transitions
}

// New makes a console.
func New(o Options) *Console {
	c := &Console{Options: o, mux: http.NewServeMux()}
	c.mux.HandleFunc("GET /v1/version", c.version)
	c.mux.HandleFunc("GET /v1/proxies", c.proxies)
	c.mux.HandleFunc("GET /v1/config", c.config)
	c.mux.HandleFunc("GET /v1/objects", c.objects)
	c.mux.HandleFunc("GET /v1/findings", c.findings)
	c.mux.HandleFunc("GET /v1/services", c.services)
	c.mux.HandleFunc("GET /v1/registries", c.registries)
	c.mux.HandleFunc("GET /v1/state", c.state)
	c.mux.HandleFunc("GET /v1/events", c.events)
	c.mux.HandleFunc("GET /v1/local", c.local)
	c.mux.HandleFunc("POST /v1/apply", c.apply)
	c.mux.HandleFunc("POST /v1/delete", c.remove)
	c.mux.HandleFunc("POST /v1/tokens", c.invite)
	c.monitor(c.mux)
	return c
}

// Monitoring is the part of the API that only measures: metrics, readiness and
// profiles, for a port that others than the user may reach.
func (c *Console) Monitoring() http.Handler {
	mux := http.NewServeMux()
	c.monitor(mux)
	return mux
}

func (c *Console) monitor(mux *http.ServeMux) {
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /ready", c.ready)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

// Run serves until ctx ends.
func (c *Console) Run(ctx context.Context) error {
	l, err := Listen(ctx, c.Socket)
	if err != nil {
		return err
	}
	if err := Serve(ctx, l, c.mux, c.Log); err != nil {
		return fmt.Errorf("console on %s: %w", c.Socket, err)
	}
	return nil
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the reader has gone
}

func fail(w http.ResponseWriter, code int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": fmt.Sprintf(format, args...)})
}

func (c *Console) version(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]any{"version": c.Version, "pid": os.Getpid()})
}

func (c *Console) ready(w http.ResponseWriter, _ *http.Request) {
	if c.Snapshots.Load() == nil {
		fail(w, http.StatusServiceUnavailable, "no configuration yet")
		return
	}
	reply(w, map[string]bool{"ready": true})
}

func (c *Console) proxies(w http.ResponseWriter, _ *http.Request) { reply(w, c.Proxies.Status()) }

func (c *Console) registries(w http.ResponseWriter, _ *http.Request) {
	out := []model.RegistryStatus{}
	if c.Registries != nil {
		out = append(out, c.Registries()...)
	}
	reply(w, out)
}

// findings lists all Findings: ?suppress=annotations leaves out those that annotations
// of objects suppress.
func (c *Console) findings(w http.ResponseWriter, r *http.Request) {
	list := c.allFindings()
	if s := c.Snapshots.Load(); s != nil && r.URL.Query().Get("suppress") == "annotations" {
		list = slices.DeleteFunc(list, func(f model.Finding) bool {
			o := Find(s, f.Object)
			return o != nil && finding.Annotated(o.Head().Annotations, f)
		})
	}
	reply(w, list)
}

func (c *Console) allFindings() []model.Finding {
	out := []model.Finding{}
	if s := c.Snapshots.Load(); s != nil {
		out = append(out, s.Findings...)
	}
	return append(out, c.Proxies.Findings()...)
}

// bodyLimit bounds what may be applied at once.
const bodyLimit = 16 << 20

func (c *Console) apply(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		fail(w, http.StatusRequestEntityTooLarge, "more than %d MB at once: apply the files one by one", bodyLimit>>20)
		return
	case err != nil:
		fail(w, http.StatusBadRequest, "reading the documents: %v", err)
		return
	}
	q := r.URL.Query()
	before := c.Snapshots.Load()
	var done []Applied
	if q.Get("delete") == "true" {
		done = c.Store.Remove(data, q.Get("name"))
	} else {
		done = c.Store.Apply(data, q.Get("name"))
	}
	c.settle(r.Context(), before, done)
	reply(w, done)
}

// settleBound is how long a change may take to be in the snapshot before its
// author gets an answer all the same.
const settleBound = 2 * time.Second

// settle waits until the snapshot has what was changed, so that a `get` after an
// `apply` shows it.
func (c *Console) settle(ctx context.Context, before *model.Snapshot, done []Applied) {
	ctx, cancel := context.WithTimeout(ctx, settleBound)
	defer cancel()
	for {
		changed := c.Snapshots.Changed()
		if !slices.ContainsFunc(done, func(a Applied) bool { return pending(before, c.Snapshots.Load(), a) }) {
			return
		}
		if !wait(ctx, changed) {
			return
		}
	}
}

// pending tells whether a change is not in the snapshot yet.
func pending(before, now *model.Snapshot, a Applied) bool {
	if before == nil || now == nil {
		return false
	}
	switch a.Result {
	case "created", "configured":
		return Find(now, a.Object) == Find(before, a.Object)
	case "deleted":
		return Find(now, a.Object) != nil
	}
	return false
}

// Find returns the object that a document with that key is in a snapshot, or
// nil: the ConfigMap with the mesh configuration is a MeshConfig there.
func Find(s *model.Snapshot, k model.Key) model.Object {
	if s == nil {
		return nil
	}
	if k.Kind == model.KindConfigMap {
		k.Kind = model.KindMeshConfig
	}
	return s.Objects.Get(k)
}

func (c *Console) remove(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	k := model.Key{Kind: model.Kind(q.Get("kind")), Namespace: q.Get("namespace"), Name: q.Get("name")}
	if k.Kind == "" || k.Name == "" {
		fail(w, http.StatusBadRequest, "delete wants a kind and a name")
		return
	}
	before := c.Snapshots.Load()
	done := []Applied{c.Store.Delete(k)}
	c.settle(r.Context(), before, done)
	reply(w, done)
}
