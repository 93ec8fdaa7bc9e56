package overload

import (
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// Names of the monitors' resources.
const (
	FixedHeap = "envoy.resource_monitors.fixed_heap"
	Injected  = "envoy.resource_monitors.injected_resource"
	// Connections has no pressure: it says no to the connection that is one too many.
	Connections = "envoy.resource_monitors.global_downstream_max_connections"
)

// Heap watches memory: what is alive and what the runtime needs beside, of limit bytes.
// Garbage is no pressure. The collector is told of the limit, so that there is not much.
func Heap(name string, limit uint64) Monitor {
	if old := debug.SetMemoryLimit(-1); uint64(old) > limit {
		debug.SetMemoryLimit(int64(min(limit, math.MaxInt64)))
	}
	return Monitor{Name: name, Pressure: func() (float64, error) { return float64(inUse()) / float64(limit), nil }}
}

// inUse is the memory that a collection would not free, as the last one has seen it.
func inUse() uint64 {
	s := [...]metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(s[:])
	v := func(i int) uint64 { return s[i].Value.Uint64() }
	return v(0) - v(1) - v(2) - v(3) + min(v(3), v(4))
}

// File reads the pressure from a file that others write, for tests.
func File(name, path string) Monitor {
	return Monitor{Name: name, Pressure: func() (float64, error) {
		b, err := os.ReadFile(path)
		if err != nil {
			return 0, err
		}
		p, err := strconv.ParseFloat(strings.TrimSpace(string(b)), 64)
		if err != nil || p < 0 || p > 1 {
			return 0, fmt.Errorf("%s holds %q: want a number from 0 to 1", path, b)
		}
		return p, nil
	}}
}

// Default is what is done without configuration: nothing where memory has no limit. With
// one, GOMEMLIMIT, the proxy sheds before it would have to die of it.
func Default() Config {
	limit := debug.SetMemoryLimit(-1)
	if limit <= 0 || limit == math.MaxInt64 {
		return Config{}
	}
	at := func(a Action, from, to float64) Rule {
		return Rule{Action: a, Triggers: []Trigger{{Monitor: FixedHeap, Scaling: from, Saturation: to}}}
	}
	return Config{
		Interval: 100 * time.Millisecond, // a crowd fills a small limit within a second
		Monitors: []Monitor{Heap(FixedHeap, uint64(limit))},
		Rules: []Rule{
			at(ShrinkHeap, 0.85, 0.85), at(DisableKeepalive, 0.8, 0.9), at(StopRequests, 0.9, 0.95), at(StopConnections, 0.95, 0.95),
		},
	}
}
