package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// storm is a soak: endpoints change all the time, and what each stream has at the end
// is held against what was written.
type storm struct {
	load *load
	mu   sync.Mutex
	// changes in their order: the n-th writes the address marker(n).
	changes []change
	of      map[int][]int // by service, the numbers of its changes
	lats    []time.Duration
	taken   int // changes that reached a stream
}

type change struct {
	svc   int
	start time.Time
}

// marker is the address that the n-th change writes.
func marker(n int) string {
	return netip.AddrFrom4([4]byte{100, 64 + byte(n>>16), byte(n >> 8), byte(n)}).String()
}

func markerOf(addr string) (n int, ok bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || !a.Is4() {
		return 0, false
	}
	b := a.As4()
	return int(b[1]-64)<<16 | int(b[2])<<8 | int(b[3]), b[0] == 100 && b[1] >= 64
}

// stormResult is in milliseconds and MiB.
type stormResult struct {
	Changes, Deliveries, Wrong int
	Lat                        dist
	CPUPerSec                  float64
	RSS                        []float64 // ten times over the storm
}

// storm changes endpoints for the time that was asked for.
func (l *load) storm(ctx context.Context) error {
	st := &storm{load: l, of: map[int][]int{}}
	for _, s := range l.streams {
		s.storm.Store(st)
	}
	before, begin := l.usage(), time.Now()
	var rss []float64
	tick := time.NewTicker(time.Duration(float64(time.Second) / l.rate))
	defer tick.Stop()
	for i := 0; time.Since(begin) < l.soak; i++ {
		select {
		case <-tick.C:
		case err := <-l.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := st.change(i); err != nil {
			return err
		}
		if time.Since(begin) >= l.soak*time.Duration(len(rss)+1)/10 {
			rss = append(rss, l.usage().server.RSS)
			fmt.Printf("storm: %v, %d changes, RSS %.0f MiB\n", time.Since(begin).Round(time.Second), i+1, rss[len(rss)-1])
		}
	}
	wall := time.Since(begin).Seconds()
	wrong, err := st.converge(ctx)
	if err != nil {
		return err
	}
	r := &l.result.Storm
	*r = stormResult{
		Changes: len(st.changes), Deliveries: st.taken, Wrong: wrong, Lat: distOf(st.lats),
		CPUPerSec: (l.usage().server.CPU - before.server.CPU) / wall, RSS: rss,
	}
	fmt.Printf("storm: %d changes in %.0f s (%.0f/s), %d deliveries: %v; server %.2f CPU s/s, RSS %.0f to %.0f MiB; %d wrong at the end\n",
		r.Changes, wall, float64(r.Changes)/wall, r.Deliveries, r.Lat, r.CPUPerSec, slices.Min(rss), slices.Max(rss), wrong)
	if wrong > 0 {
		return errors.New("streams do not have what was written")
	}
	return nil
}

// change writes the i-th change.
func (st *storm) change(i int) error {
	l := st.load
	svc := l.used(i * 7919)
	if l.use == 0 {
		svc = i * 7919 % l.shape.S
	}
	st.mu.Lock()
	st.changes = append(st.changes, change{svc, time.Now()})
	st.of[svc] = append(st.of[svc], i)
	st.mu.Unlock()
	return l.write(svc, l.shape.fileText(svc, marker(i), ""))
}

// see takes the endpoints of a service that came over a stream. All changes up to the
// one that they have are there by it.
func (s *stream) see(typ string, x rsrc, now time.Time) {
	st := s.storm.Load()
	if st == nil || typ != typeEDS && typ != typeCDS {
		return
	}
	svc, ok := serviceOf(x.name)
	if !ok {
		return
	}
	n, has := -1, false
	for _, a := range socketAddresses(x.val) {
		if n, has = markerOf(a); has {
			break
		}
	}
	if !has {
		return
	}
	s.hitMu.Lock()
	last, known := s.seen[svc]
	if s.seen == nil {
		s.seen = map[int]int{}
	}
	if !known {
		last = -1
	}
	s.seen[svc] = n
	s.hitMu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, c := range st.of[svc] {
		if c > last && c <= n {
			st.lats = append(st.lats, now.Sub(st.changes[c].start))
			st.taken++
		}
	}
}

// converge waits until every stream has the last change of each service that it uses,
// and returns how many do not.
func (st *storm) converge(ctx context.Context) (wrong int, err error) {
	end := time.Now().Add(30 * time.Second)
	for {
		wrong = 0
		for svc, list := range st.of {
			for _, s := range st.load.users(svc) {
				s.hitMu.Lock()
				if n, ok := s.seen[svc]; !ok || n != list[len(list)-1] {
					wrong++
				}
				s.hitMu.Unlock()
			}
		}
		if wrong == 0 || time.Now().After(end) {
			return wrong, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return wrong, ctx.Err()
		}
	}
}
