package limiter

import (
	"math"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/limiter/metric"
	"github.com/weftmesh/weft/control/model"
)

// set is the workloads whose numbers a set of limits is about.
type set struct {
	name string
	host string // of the service
	// ready are those that take traffic.
	ready []*model.Workload
}

// values finds the numbers of expressions.
type values struct {
	store *metric.Store
	// limits are the CPUs that Processes may use, by "namespace/name".
	limits map[string]*model.Process
	sets   map[string]*set
	// used are the numbers that were found, by name.
	used map[string]float64
	// wanted are the names, as reporters have them, that expressions use.
	wanted map[string]bool
}

// get is the number of a qualified name: "_base.cpu.sum".
func (v *values) get(name string) (float64, bool) {
	in, rest, ok := strings.Cut(name, ".")
	s := v.sets[in]
	if !ok || s == nil {
		return 0, false
	}
	n, ok := v.of(s, rest)
	if ok {
		v.used[name] = n
	}
	return n, ok
}

func (v *values) of(s *set, name string) (float64, bool) {
	if name == "pod" {
		return float64(len(s.ready)), true
	}
	if s.host != "" {
		// What is said of the service itself goes first, under any name.
		if n, ok := v.store.Get(metric.Subject{Service: s.host, Set: setOf(s.name)}, name); ok {
			return n, true
		}
	}
	base, how := name, ""
	if i := strings.LastIndexByte(name, '.'); i >= 0 && slices.Contains(folds, name[i+1:]) {
		base, how = name[:i], name[i+1:]
	}
	if how == "" && (base == "cpu" || base == "memory") {
		return v.share(s, base)
	}
	if how == "" {
		how = usual(base)
	}
	if how == "weighted" {
		return v.weighted(s, base)
	}
	return fold(how, v.each(s, base))
}

// setOf is how a set is called where numbers are pushed.
func setOf(name string) string {
	if name == model.WholeService {
		return ""
	}
	return name
}

// folds are what may follow a name.
var folds = []string{"sum", "max", "min", "avg", "count"}

// usual is how the numbers of several workloads make one where the name does not say.
func usual(name string) string {
	switch name {
	case "rps", "inflight":
		return "sum"
	case "p50", "p90", "p95", "p99":
		return "max"
	case "errors":
		return "weighted"
	}
	return "avg"
}

// each has the numbers of those workloads that have one.
func (v *values) each(s *set, name string) (out []float64) {
	for _, w := range s.ready {
		if n, ok := v.store.Get(metric.Subject{Namespace: w.Namespace, Workload: w.Name}, name); ok {
			out = append(out, n)
		}
	}
	return out
}

// share is the mean of what workloads use of what they may.
func (v *values) share(s *set, name string) (float64, bool) {
	var parts []float64
	for _, w := range s.ready {
		of := metric.Subject{Namespace: w.Namespace, Workload: w.Name}
		used, ok := v.store.Get(of, name)
		if !ok {
			continue
		}
		limit := 0.0
		if p := v.limits[w.Namespace+"/"+w.App]; p != nil {
			limit = p.CPU
			if name == "memory" {
				limit = p.Memory
			}
		}
		if limit == 0 {
			limit, _ = v.store.Get(of, name+"_limit")
		}
		if limit > 0 {
			parts = append(parts, used/limit)
		}
	}
	return fold("avg", parts)
}

// weighted is the mean of a share of requests, by how many there are.
func (v *values) weighted(s *set, name string) (float64, bool) {
	var sum, all float64
	found := false
	for _, w := range s.ready {
		of := metric.Subject{Namespace: w.Namespace, Workload: w.Name}
		n, ok := v.store.Get(of, name)
		if !ok {
			continue
		}
		weight, _ := v.store.Get(of, "rps")
		sum, all, found = sum+n*weight, all+weight, true
	}
	if all > 0 {
		sum /= all
	}
	return sum, found
}

func fold(how string, list []float64) (float64, bool) {
	if how == "count" {
		return float64(len(list)), true
	}
	if len(list) == 0 {
		return 0, false
	}
	out := 0.0
	switch how {
	case "max":
		return slices.Max(list), true
	case "min":
		return slices.Min(list), true
	}
	for _, n := range list {
		out += n
	}
	if how == "avg" {
		out /= float64(len(list))
	}
	return out, !math.IsInf(out, 0)
}
