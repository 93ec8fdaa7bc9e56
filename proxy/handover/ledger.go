package handover

import (
	"slices"
	"strings"
	"sync"
)

// Stat is one statistic of Envoy's kind.
type Stat struct {
	Scope string `json:"s"`
	Name  string `json:"n"`
	Stat  string `json:"t"`
	Value int64  `json:"v"`
	// Gauge: the value is what it is now, not what was added.
	Gauge bool `json:"g,omitempty"`
}

// Series is one Prometheus counter or histogram.
type Series struct {
	Family string `json:"f"`
	Help   string `json:"h,omitempty"`
	// Labels are names and values in turns, in the order of the names.
	Labels []string `json:"l,omitempty"`
	// Bounds of a histogram; nil: a counter.
	Bounds []float64 `json:"b,omitempty"`
	// Values are the counter's, or for each bound the count up to it, then the
	// count and the sum of all.
	Values []float64 `json:"v"`
}

// Counts are the statistics of a process, with those of all before it.
type Counts struct {
	Stats  []Stat   `json:"stats,omitempty"`
	Series []Series `json:"series,omitempty"`
}

func (c Counts) empty() bool { return len(c.Stats) == 0 && len(c.Series) == 0 }

// statKey names a Stat.
type statKey struct{ scope, name, stat string }

func (s *Stat) key() statKey { return statKey{s.Scope, s.Name, s.Stat} }

func (s *Series) key() string { return s.Family + "\x00" + strings.Join(s.Labels, "\x00") }

// adds tells whether a gauge of several processes is the sum of theirs: what is
// open or under way. All others (how many hosts a cluster has) are not.
func adds(stat string) bool { return strings.HasSuffix(stat, "_active") }

// Ledger is what other generations have counted: those that have ended, and
// those that are draining. Safe for concurrent use.
type Ledger struct {
	mu sync.Mutex
	// Guarded by mu.
	counters map[statKey]int64
	series   map[string]*Series
	gauges   map[any]map[statKey]int64 // by the link that tells them
}

// NewLedger returns an empty one.
func NewLedger() *Ledger {
	return &Ledger{counters: map[statKey]int64{}, series: map[string]*Series{}, gauges: map[any]map[statKey]int64{}}
}

// add enters what a link told: counters have grown by so much, gauges are so much.
func (l *Ledger) add(link any, c Counts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range c.Stats {
		if !s.Gauge {
			l.counters[s.key()] += s.Value
			continue
		}
		if l.gauges[link] == nil {
			l.gauges[link] = map[statKey]int64{}
		}
		l.gauges[link][s.key()] = s.Value
	}
	for i := range c.Series {
		s := &c.Series[i]
		old := l.series[s.key()]
		switch {
		case old == nil:
			l.series[s.key()] = s
		case len(old.Values) == len(s.Values) && slices.Equal(old.Bounds, s.Bounds):
			for i, v := range s.Values {
				old.Values[i] += v
			}
		}
	}
}

// forget takes the gauges of a link away: its process has ended, or will tell
// another.
func (l *Ledger) forget(link any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.gauges, link)
}

// Stats yields what is to be added to the process's own statistics.
func (l *Ledger) Stats(yield func(s Stat) bool) {
	l.mu.Lock()
	sum := make(map[statKey]Stat, len(l.counters))
	for k, v := range l.counters {
		sum[k] = Stat{k.scope, k.name, k.stat, v, false}
	}
	for _, g := range l.gauges {
		for k, v := range g {
			s := sum[k]
			sum[k] = Stat{k.scope, k.name, k.stat, s.Value + v, true}
		}
	}
	l.mu.Unlock()
	for _, s := range sum {
		if !yield(s) {
			return
		}
	}
}

// Series returns what is to be added to the process's own series, in order.
func (l *Ledger) Series() []Series {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Series, 0, len(l.series))
	for _, s := range l.series {
		c := *s
		c.Values = slices.Clone(s.Values)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Series) int { return strings.Compare(a.key(), b.key()) })
	return out
}

// sent is what a successor has been told.
type sent struct {
	counters, gauges map[statKey]int64
	series           map[string][]float64
}

func newSent() *sent {
	return &sent{counters: map[statKey]int64{}, gauges: map[statKey]int64{}, series: map[string][]float64{}}
}

// news is what has changed in now since what was told.
func (t *sent) news(now Counts) (out Counts) {
	for _, s := range now.Stats {
		k := s.key()
		switch {
		case s.Gauge && !adds(s.Stat):
		case s.Gauge:
			if t.gauges[k] != s.Value {
				out.Stats = append(out.Stats, s)
			}
		case s.Value > t.counters[k]:
			s.Value -= t.counters[k]
			out.Stats = append(out.Stats, s)
		}
	}
	for _, s := range now.Series {
		old := t.series[s.key()]
		if slices.Equal(old, s.Values) {
			continue
		}
		s.Values = slices.Clone(s.Values)
		for i := range old {
			s.Values[i] -= old[i]
		}
		out.Series = append(out.Series, s)
	}
	return out
}

// told notes that news, or a part of it, was sent: what a successor that has just died did
// not get is news to who takes its place.
func (t *sent) told(c Counts) {
	for _, s := range c.Stats {
		if s.Gauge {
			t.gauges[s.key()] = s.Value
		} else {
			t.counters[s.key()] += s.Value
		}
	}
	for _, s := range c.Series {
		sum := slices.Clone(s.Values)
		for i, v := range t.series[s.key()] {
			sum[i] += v
		}
		t.series[s.key()] = sum
	}
}

// elsewhere is to be called when another process is told from now on: it knows
// the counters from the one before, but not the gauges.
func (t *sent) elsewhere() { clear(t.gauges) }
