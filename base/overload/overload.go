// Package overload decides how far a process has to protect itself, as Envoy's
// overload manager does: monitors say how much of a resource is used, triggers make that
// into how far an action is to be taken, and whoever can take it asks.
//
// Asking (State.Hit) is an atomic load. The package knows no traffic: what an action
// means is its taker's affair; only shrink_heap is done here.
package overload

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
)

// Action is something that is done, or not done any more, under pressure.
type Action uint8

// Actions, and Envoy's names of them.
const (
	StopRequests      Action = iota // new requests are answered 503
	DisableKeepalive                // responses end their connections
	StopConnections                 // new connections wait in the kernel
	RejectConnections               // new connections are closed
	ShrinkHeap                      // garbage is collected and given back
	ReduceTimeouts                  // timers are shorter: State.Scaled

	// What follows are places where load is shed, each by triggers of its own.
	AtAccept  // as RejectConnections
	AtCodec   // a connection is closed instead of read for the first time
	AtHeaders // as StopRequests
	actions
)

var actionNames = [actions]string{
	"envoy.overload_actions.stop_accepting_requests", "envoy.overload_actions.disable_http_keepalive",
	"envoy.overload_actions.stop_accepting_connections", "envoy.overload_actions.reject_incoming_connections",
	"envoy.overload_actions.shrink_heap", "envoy.overload_actions.reduce_timeouts",
	"envoy.load_shed_points.tcp_listener_accept", "envoy.load_shed_points.hcm_ondata_creating_codec",
	"envoy.load_shed_points.http_connection_manager_decode_headers",
}

// String is Envoy's name.
func (a Action) String() string { return actionNames[a] }

// ParseAction finds an action by Envoy's name.
func ParseAction(name string) (Action, error) {
	if i := slices.Index(actionNames[:AtAccept], name); i >= 0 {
		return Action(i), nil
	}
	return 0, fmt.Errorf("overload action %q is not supported", name)
}

// ParsePoint finds a place where load is shed by Envoy's name.
func ParsePoint(name string) (Action, error) {
	if i := slices.Index(actionNames[AtAccept:], name); i >= 0 {
		return AtAccept + Action(i), nil
	}
	return 0, fmt.Errorf("load-shed point %q is not supported", name)
}

// full is a State's value of an action that is taken always.
const full = 100

// State is how far each action is to be taken. The zero value, and nil, is not at all.
type State struct {
	values      [actions]atomic.Uint32
	sheds       [actions - AtAccept]atomic.Uint64 // how often, by places
	connections *quota
	// What New has set.
	minima   [timers]*Minimum
	interval time.Duration
}

// Hit tells whether to take the action this time: always when its trigger is saturated,
// in proportion when it is scaled.
func (s *State) Hit(a Action) bool {
	if s == nil {
		return false
	}
	v := s.values[a].Load()
	return v == full || v > 0 && rand.Uint32N(full) < v
}

// Shed is Hit for a place where load is shed; it counts.
func (s *State) Shed(at Action) bool {
	if !s.Hit(at) {
		return false
	}
	s.sheds[at-AtAccept].Add(1)
	return true
}

// Saturated tells whether the action is to be taken always.
func (s *State) Saturated(a Action) bool { return s != nil && s.values[a].Load() == full }

// Percent is how far the action is to be taken.
func (s *State) Percent(a Action) int {
	if s == nil {
		return 0
	}
	return int(s.values[a].Load())
}

// Monitor watches a resource.
type Monitor struct {
	// Name is its resource's, as triggers call it.
	Name string
	// Pressure is how much is used; 1: all.
	Pressure func() (float64, error)
}

// Trigger makes the pressure of a resource into a value from 0 to 1: 0 up to Scaling, 1
// from Saturation on, and between them in proportion. Both are equal for a threshold.
type Trigger struct {
	Monitor             string
	Scaling, Saturation float64
}

func (t *Trigger) value(pressure float64) float64 {
	switch {
	case pressure >= t.Saturation:
		return 1
	case pressure <= t.Scaling:
		return 0
	}
	return (pressure - t.Scaling) / (t.Saturation - t.Scaling)
}

// Rule is when an action is taken: as far as the strongest of its triggers says.
type Rule struct {
	Action   Action
	Triggers []Trigger
	// Timers are those that ReduceTimeouts reduces.
	Timers map[Timer]Minimum
}

// Config of a Manager. Interval 0: 1 s.
type Config struct {
	Interval time.Duration
	// MaxConnections bounds the connections of all listeners together; 0: nothing does.
	MaxConnections int64
	Monitors       []Monitor
	Rules          []Rule
}

// Manager looks at the monitors and sets the State.
type Manager struct {
	cfg      Config
	state    State
	log      *slog.Logger
	pressure []atomic.Int64 // of the monitors, in percent
	failed   []atomic.Uint64
}

// New makes a manager.
func New(cfg Config, log *slog.Logger) *Manager {
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	m := &Manager{cfg: cfg, log: log, pressure: make([]atomic.Int64, len(cfg.Monitors)), failed: make([]atomic.Uint64, len(cfg.Monitors))}
	m.state.interval = cfg.Interval
	for _, r := range cfg.Rules {
		for t, least := range r.Timers {
			m.state.minima[t] = &least
		}
	}
	if cfg.MaxConnections > 0 {
		m.state.connections = &quota{limit: cfg.MaxConnections}
	}
	return m
}

// State is what is asked.
func (m *Manager) State() *State { return &m.state }

// Run watches until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	if len(m.cfg.Rules) == 0 {
		return nil
	}
	t := time.NewTicker(m.cfg.Interval)
	defer t.Stop()
	var swept time.Time
	for {
		m.look()
		// To collect costs what it costs however often it is done: not more often than this.
		if now := time.Now(); m.state.Hit(ShrinkHeap) && now.Sub(swept) >= shrinkEvery {
			debug.FreeOSMemory()
			swept = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// shrinkEvery is how often the heap is shrunk at most (Envoy's: 10 s).
const shrinkEvery = 10 * time.Second

// look takes the pressures and sets the actions. A monitor that fails keeps its last value.
func (m *Manager) look() {
	now := map[string]float64{}
	for i, mon := range m.cfg.Monitors {
		p, err := mon.Pressure()
		if err != nil {
			m.failed[i].Add(1)
			m.log.Warn("overload: no pressure", "monitor", mon.Name, "error", err)
			p = float64(m.pressure[i].Load()) / 100
		}
		m.pressure[i].Store(int64(p * 100))
		now[mon.Name] = p
	}
	for _, r := range m.cfg.Rules {
		v := 0.0
		for i := range r.Triggers {
			v = max(v, r.Triggers[i].value(now[r.Triggers[i].Monitor]))
		}
		percent := uint32(v * full)
		if old := m.state.values[r.Action].Swap(percent); (old == 0) != (percent == 0) {
			m.log.Warn("overload", "action", r.Action.String(), "percent", percent)
		}
	}
}

// Each yields the statistics: of the actions that have rules, and of the monitors, by
// the names that Envoy has after "overload.".
func (m *Manager) Each(yield func(name, stat string, gauge bool, value uint64)) {
	for _, r := range m.cfg.Rules {
		v := uint64(m.state.Percent(r.Action))
		if r.Action < AtAccept {
			yield(r.Action.String(), "active", true, v/full)
		} else {
			yield(r.Action.String(), "shed_load_count", false, m.state.sheds[r.Action-AtAccept].Load())
		}
		yield(r.Action.String(), "scale_percent", true, v)
	}
	if q := m.state.connections; q != nil {
		yield(Connections, "failed_updates", false, q.failed.Load())
	}
	for i, mon := range m.cfg.Monitors {
		yield(mon.Name, "pressure", true, uint64(max(m.pressure[i].Load(), 0)))
		yield(mon.Name, "failed_updates", false, m.failed[i].Load())
	}
}
