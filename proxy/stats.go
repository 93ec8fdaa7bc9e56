package proxy

import (
	"strings"

	"github.com/weftmesh/weft/proxy/admin"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/handover"
	"github.com/weftmesh/weft/proxy/http/localrate"
)

// visitStats yields Envoy's statistics by scope: those that the bootstrap's
// matcher keeps, and of those the ones that were ever used (a mesh has
// hundreds of clusters with a hundred statistics each).
func (r *runtime) visitStats(visit func(scope, name, stat string, value uint64, gauge bool)) {
	r.eachStat(func(scope, name, stat string, value uint64, gauge bool) {
		if value != 0 {
			visit(scope, name, stat, value, gauge)
		}
	})
}

// eachStat adds to this process's own what processes before it have counted.
func (r *runtime) eachStat(visit func(scope, name, stat string, value uint64, gauge bool)) {
	type key struct{ scope, name, stat string }
	others := map[key]handover.Stat{}
	for s := range r.gen.ledger.Stats {
		others[key{s.Scope, s.Name, s.Stat}] = s
	}
	sum := func(scope, name, stat string, value uint64, gauge bool) {
		k := key{scope, name, stat}
		visit(scope, name, stat, value+uint64(max(others[k].Value, 0)), gauge)
		delete(others, k)
	}
	r.ownStats(sum)
	for _, s := range others { // what only processes before this one have
		if k := r.boot.KeepStat; k == nil || k(dotted(s.Scope, s.Name, s.Stat)) {
			sum(s.Scope, s.Name, s.Stat, 0, s.Gauge)
		}
	}
}

// ownStats are those that this process has counted, as far as the bootstrap's
// matcher keeps them.
func (r *runtime) ownStats(visit func(scope, name, stat string, value uint64, gauge bool)) {
	keep := func(scope, name, stat string, value uint64, gauge bool) {
		if k := r.boot.KeepStat; k == nil || k(dotted(scope, name, stat)) {
			visit(scope, name, stat, value, gauge)
		}
	}
	r.serverStats(func(stat string, v uint64) { keep("server", "", stat, v, true) })
	r.runtimeStats(keep)
	if ok, _ := r.ready(); ok {
		keep("listener_manager", "", "workers_started", 1, true)
	}
	for c := range r.clusters.Clusters {
		c.Each(func(stat string, k cluster.StatKind, v uint64) bool {
			keep("cluster", c.StatName(), stat, v, k == cluster.KindGauge)
			return true
		})
	}
	for c := range r.clusters.Clusters {
		c.Endpoints(func(addr, stat string, k cluster.StatKind, v uint64) {
			keep("cluster", c.StatName(), admin.EndpointStat(addr, stat), v, k == cluster.KindGauge)
		})
	}
	for name, s := range r.clusters.DNSCaches {
		s.Each(func(stat string, k cluster.StatKind, v uint64) bool {
			keep("dns_cache", name, stat, v, k == cluster.KindGauge)
			return true
		})
	}
	r.httpStats.Each(func(name string, gauge bool, v uint64) bool {
		scope, rest, _ := strings.Cut(name, ".")
		if i := strings.LastIndexByte(rest, '.'); i >= 0 {
			keep(scope, rest[:i], rest[i+1:], v, gauge)
		}
		return true
	})
	r.filterStats.Each(keep)
	r.overload.Each(func(name, stat string, gauge bool, v uint64) { keep("overload", name, stat, v, gauge) })
	for _, l := range r.listeners.All() {
		addr := l.Listener.Name
		if len(l.Listener.Addresses) > 0 {
			addr = strings.ReplaceAll(l.Listener.Addresses[0].String(), ":", "_")
		}
		l.Stats.Each(func(stat string, v int64) bool {
			keep("listener", addr, stat, uint64(max(v, 0)), strings.HasSuffix(stat, "_active") || strings.HasSuffix(stat, "_draining"))
			return true
		})
	}
}

// visitHistograms yields the histograms of this process that have any values.
func (r *runtime) visitHistograms(visit func(admin.Histogram)) {
	for c := range r.clusters.Clusters {
		c.Histograms(func(stat string, h *cluster.Histogram) bool {
			if k := r.boot.KeepStat; k != nil && !k(dotted("cluster", c.StatName(), stat)) {
				return true
			}
			bounds, counts, sum := h.Load()
			visit(admin.Histogram{Scope: "cluster", Name: c.StatName(), Stat: stat, Bounds: bounds, Counts: counts, Sum: sum})
			return true
		})
	}
}

// runtimeStats are those of the layers of values.
func (r *runtime) runtimeStats(keep func(scope, name, stat string, value uint64, gauge bool)) {
	s := r.boot.Runtime.Stats()
	overrides := uint64(0)
	if s.Overrides {
		overrides = 1
	}
	keep("runtime", "", "load_success", s.Loads, false)
	keep("runtime", "", "load_error", s.Errors, false)
	keep("runtime", "", "num_keys", uint64(s.Keys), true)
	keep("runtime", "", "num_layers", uint64(s.Layers), true)
	keep("runtime", "", "admin_overrides_active", overrides, true)
}

// dottedStats are the statistics as /stats shows them.
func (r *runtime) dottedStats(visit func(name string, value uint64)) {
	r.eachStat(func(scope, name, stat string, value uint64, _ bool) {
		if scope == localrate.Scope { // Envoy puts the configured prefix first here
			scope, name = name, scope
		}
		visit(dotted(scope, name, stat), value)
	})
}

// dotted joins the parts that are not empty.
func dotted(scope, name, stat string) string {
	for _, s := range [...]string{name, scope} {
		if s != "" {
			stat = s + "." + stat
		}
	}
	return stat
}
