package overload

import (
	"log/slog"
	"testing"
	"time"
)

// TestScaled: what is left of a timer, by pressure and minimum, and when it is looked at.
func TestScaled(t *testing.T) {
	const d, s = 100 * time.Second, time.Second
	for _, c := range []struct {
		least   Minimum
		percent uint32
		want    time.Duration
		due     []time.Duration // asked at 0, when the first minimum is over, and 40 s later
	}{
		{Minimum{Share: 0.2}, 0, d, []time.Duration{20 * s, 25 * s, 65 * s}},
		{Minimum{Share: 0.2}, 50, 60 * s, []time.Duration{20 * s, 25 * s, 60 * s}},
		{Minimum{Share: 0.2}, 100, 20 * s, []time.Duration{20 * s, 20 * s, 20 * s}},
		{Minimum{Least: 10 * s}, 100, 10 * s, []time.Duration{10 * s, 10 * s, 10 * s}},
		{Minimum{Least: 10 * s}, 50, 55 * s, []time.Duration{10 * s, 15625 * time.Millisecond, 55 * s}},
		{Minimum{Least: 200 * s}, 100, d, []time.Duration{d, d, d}},
		{Minimum{Share: 2}, 100, d, []time.Duration{d, d, d}},
		{Minimum{}, 100, 0, []time.Duration{0, 0, 0}},
	} {
		m := New(Config{Rules: []Rule{{Action: ReduceTimeouts, Timers: map[Timer]Minimum{StreamIdle: c.least}}}}, slog.New(slog.DiscardHandler))
		st := m.State()
		st.values[ReduceTimeouts].Store(c.percent)
		if got := st.Scaled(StreamIdle, d); got != c.want {
			t.Errorf("%+v at %d: %v, want %v", c.least, c.percent, got, c.want)
		}
		if got := st.Scaled(Handshake, d); got != d {
			t.Errorf("another timer: %v", got)
		}
		since := time.Unix(1000, 0)
		least := c.least.of(d)
		for i, at := range []time.Duration{0, least, least + 40*s} {
			if got := st.Due(StreamIdle, since, d, since.Add(at)).Sub(since); got != c.due[i] {
				t.Errorf("%+v at %d, after %v: due at %v, want %v", c.least, c.percent, at, got, c.due[i])
			}
		}
		if got := st.Due(Handshake, since, d, since); got != since.Add(d) {
			t.Errorf("another timer is due at %v", got)
		}
	}
	var none *State
	if none.Scaled(StreamIdle, d) != d || none.Due(StreamIdle, time.Time{}, d, time.Time{}) != (time.Time{}).Add(d) {
		t.Error("without a manager")
	}
}
