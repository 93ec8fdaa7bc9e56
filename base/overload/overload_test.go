package overload

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTriggers(t *testing.T) {
	for _, c := range []struct {
		scaling, saturation, pressure, want float64
	}{
		{0.9, 0.9, 0.89, 0}, {0.9, 0.9, 0.9, 1}, {0.9, 0.9, 1.5, 1},
		{0.5, 0.9, 0.5, 0}, {0.5, 0.9, 0.7, 0.5}, {0.5, 0.9, 0.9, 1}, {0, 0, 0, 1},
	} {
		tr := Trigger{Scaling: c.scaling, Saturation: c.saturation}
		if got := tr.value(c.pressure); got < c.want-1e-9 || got > c.want+1e-9 {
			t.Errorf("%v to %v at %v: %v, want %v", c.scaling, c.saturation, c.pressure, got, c.want)
		}
	}
}

// TestManager: the strongest trigger counts, in proportion, and a monitor that fails
// changes nothing.
func TestManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // a time that passes orders nothing for the race detector
		a, b, failing := 0.0, 0.0, error(nil)
		value := func(v *float64, err *error) func() (float64, error) {
			return func() (float64, error) {
				mu.Lock()
				defer mu.Unlock()
				return *v, *err
			}
		}
		fine := error(nil)
		m := New(Config{
			Monitors: []Monitor{
				{"a", value(&a, &failing)},
				{"b", value(&b, &fine)},
			},
			Rules: []Rule{
				{Action: StopRequests, Triggers: []Trigger{{"a", 0.9, 0.9}, {"b", 0.5, 1}}},
				{Action: RejectConnections, Triggers: []Trigger{{"b", 0.8, 0.8}}},
			},
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = m.Run(ctx) }()
		s := m.State()
		time.Sleep(500 * time.Millisecond)
		for _, c := range []struct {
			a, b            float64
			err             error
			requests, conns int
		}{
			{0, 0, nil, 0, 0}, {0.95, 0, nil, 100, 0}, {0, 0.75, nil, 50, 0}, {0, 0.8, nil, 60, 100},
			{1, 1, nil, 100, 100}, {0, 0, errors.New("gone"), 100, 0}, {0, 0, nil, 0, 0},
		} {
			mu.Lock()
			a, b, failing = c.a, c.b, c.err
			mu.Unlock()
			time.Sleep(time.Second) // looks are half a second off
			synctest.Wait()
			// 0.8 is 60 % of the way from 0.5 to 1, a hair below in binary.
			if got := s.Percent(StopRequests); got != c.requests && got != c.requests-1 {
				t.Errorf("%v, %v: %d %% of requests, want %d", c.a, c.b, got, c.requests)
			}
			if got := s.Percent(RejectConnections); got != c.conns || s.Saturated(RejectConnections) != (c.conns == 100) || s.Hit(RejectConnections) != (c.conns == 100) {
				t.Errorf("%v, %v: %d %% of connections, want %d", c.a, c.b, got, c.conns)
			}
			if s.Hit(DisableKeepalive) {
				t.Error("an action without a rule is taken")
			}
		}
		seen := map[string]uint64{}
		m.Each(func(name, stat string, _ bool, v uint64) { seen[name+"."+stat] = v })
		if seen["a.failed_updates"] != 1 {
			t.Errorf("statistics %v, want one failed update of a", seen)
		}
	})
}

func TestScaledHitsInProportion(t *testing.T) {
	var s State
	s.values[StopRequests].Store(30)
	hits := 0
	for range 10000 {
		if s.Hit(StopRequests) {
			hits++
		}
	}
	if hits < 2500 || hits > 3500 {
		t.Errorf("%d of 10000 hits, want 3000", hits)
	}
	if n := testing.AllocsPerRun(100, func() { s.Hit(StopRequests) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pressure")
	m := File("x", path)
	if _, err := m.Pressure(); err == nil {
		t.Error("no error without a file")
	}
	for text, want := range map[string]float64{"0.5\n": 0.5, "1": 1, "2": -1, "x": -1} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := m.Pressure()
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

var sink [][]byte

// TestHeapSeesWhatLives: live memory is pressure.
func TestHeapSeesWhatLives(t *testing.T) {
	m := Monitor{Pressure: func() (float64, error) { return float64(inUse()), nil }}
	before, _ := m.Pressure()
	for range 64 {
		sink = append(sink, make([]byte, 1<<20))
	}
	gc()
	after, _ := m.Pressure()
	if after-before < 60<<20 {
		t.Errorf("64 MiB more are %v bytes of pressure", after-before)
	}
	sink = nil
	gc()
	if end, _ := m.Pressure(); end > before+8<<20 {
		t.Errorf("garbage is pressure: %v bytes, before %v", end, before)
	}
}

func gc() { runtime.GC() }
