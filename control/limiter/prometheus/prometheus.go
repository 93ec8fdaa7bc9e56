// Package prometheus asks Prometheus servers for the numbers that SmartLimiters name, by instant queries every two
// seconds, and keeps them with those that are pushed. A server that does not answer, or answers with an error, changes
// nothing: its numbers go out of date by themselves.
package prometheus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/limiter/metric"
	"github.com/weftmesh/weft/control/model"
)

const (
	// Interval is how often servers are asked.
	Interval = 2 * time.Second
	timeout  = 5 * time.Second
	// largest bounds an answer, mostSeries what is kept of one.
	largest    = 4 << 20
	mostSeries = 1000
)

// Snapshots is where SmartLimiters come from.
type Snapshots interface{ Load() *model.Snapshot }

// Poller asks. Make one with New and Run it.
type Poller struct {
	snapshots Snapshots
	store     *metric.Store
	client    *http.Client
	log       *slog.Logger
	failing   map[string]bool // by query, so that each failure is told once
}

// New returns a poller that keeps numbers in the store.
func New(s Snapshots, store *metric.Store, log *slog.Logger) *Poller {
	return &Poller{snapshots: s, store: store, client: &http.Client{Timeout: timeout}, log: log.With("component", "limiter/prometheus"), failing: map[string]bool{}}
}

// Run asks until ctx ends.
func (p *Poller) Run(ctx context.Context) error {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if snap := p.snapshots.Load(); snap != nil {
			for _, l := range snap.Limiters {
				if m := model.MetricsOf(snap.Boots, l); m != nil {
					p.limiter(ctx, snap, l, m)
				}
			}
		}
	}
}

func (p *Poller) limiter(ctx context.Context, snap *model.Snapshot, l *model.SmartLimiter, m *model.PrometheusMetrics) {
	sets := map[string]bool{}
	for i := range l.Rules {
		sets[l.Rules[i].Set] = true
	}
	for _, q := range m.Queries {
		in := slices.Sorted(maps.Keys(sets))
		if q.Grouped {
			in = []string{model.WholeService}
		}
		for _, set := range in {
			query := filled(q.Query, snap, l, set)
			list, err := p.ask(ctx, m.Address, query)
			if err == nil {
				err = p.take(l, set, q, list)
			}
			if key := l.Key.String() + "\x00" + query; err != nil && !p.failing[key] {
				p.failing[key] = true
				p.log.Warn("a query has no outcome", "limiter", l.Key.Title(), "query", query, "error", err)
			} else if err == nil {
				delete(p.failing, key)
			}
		}
	}
}

// filled puts the names into a query.
func filled(query string, snap *model.Snapshot, l *model.SmartLimiter, set string) string {
	return strings.NewReplacer("$namespace", l.Key.Namespace, "$service", l.Key.Name, "$pod_name", pods(snap, l, set)).Replace(query)
}

// pods is a pattern of the names of all ready workloads of a set.
func pods(snap *model.Snapshot, l *model.SmartLimiter, set string) string {
	var names []string
	for _, s := range snap.Services {
		if s.Host != l.Service {
			continue
		}
		for _, w := range snap.Workloads {
			if w.Ready && s.Picks(w) && inSet(snap, l, set, w) {
				names = append(names, strings.ReplaceAll(regexp.QuoteMeta(w.Name), `\`, `\\`))
			}
		}
	}
	return strings.Join(names, "|")
}

func inSet(snap *model.Snapshot, l *model.SmartLimiter, set string, w *model.Workload) bool {
	if set == model.WholeService {
		return true
	}
	for _, p := range snap.Policies {
		for i := range p.Subsets {
			if p.Host == l.Service && p.Subsets[i].Name == set {
				return model.Matches(p.Subsets[i].Labels, w.Labels)
			}
		}
	}
	return false
}

// answer is Prometheus's, of a vector or a scalar.
type answer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

type series struct {
	Metric map[string]string  `json:"metric"`
	Value  [2]json.RawMessage `json:"value"`
}

// ask is what a server answers to a query.
func (p *Poller) ask(ctx context.Context, address, query string) ([]series, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, largest))
	if err != nil {
		return nil, err
	}
	list, err := read(raw)
	if err != nil {
		return nil, fmt.Errorf("%w (status %d)", err, resp.StatusCode)
	}
	if len(list) > mostSeries {
		return nil, fmt.Errorf("%d series, want %d at most: aggregate them", len(list), mostSeries)
	}
	return list, nil
}

// take keeps the outcome of a query.
func (p *Poller) take(l *model.SmartLimiter, set string, q model.PrometheusQuery, list []series) error {
	of := metric.Subject{Service: l.Service}
	if set != model.WholeService {
		of.Set = set
	}
	if !q.Grouped {
		if len(list) != 1 {
			return fmt.Errorf("%d series, want one: aggregate them, as with sum(…)", len(list))
		}
		return p.keep(of, q.Name, list[0])
	}
	for _, s := range list {
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(s.Metric)) {
			parts = append(parts, s.Metric[k])
		}
		name := strings.Join(append([]string{q.Name}, parts...), "/")
		if metric.Name(name) {
			if err := p.keep(of, name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Poller) keep(of metric.Subject, name string, s series) error {
	text := ""
	if err := json.Unmarshal(s.Value[1], &text); err != nil {
		return err
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return err
	}
	return p.store.Set(of, name, v, 0)
}

// read reads an answer.
func read(raw []byte) ([]series, error) {
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, fmt.Errorf("is no answer of Prometheus: %w", err)
	}
	if a.Status != "success" {
		return nil, fmt.Errorf("%s", a.Error)
	}
	switch a.Data.Type {
	case "vector":
		var list []series
		err := json.Unmarshal(a.Data.Result, &list)
		return list, err
	case "scalar":
		var one series
		err := json.Unmarshal(a.Data.Result, &one.Value)
		return []series{one}, err
	}
	return nil, fmt.Errorf("a %s, want a vector or a scalar", a.Data.Type)
}
