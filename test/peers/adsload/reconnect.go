package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// typeGhost is a type of which there is nothing: a question about it is answered once
// all that was asked before has been.
const typeGhost = "type.googleapis.com/adsload.Ghost"

// hold remembers the versions of what has come, to come back with them.
func (s *stream) hold(r response) {
	if s.held == nil {
		return
	}
	of := s.held[r.typeURL]
	if of == nil {
		of = map[string]string{}
		s.held[r.typeURL] = of
	}
	for _, x := range r.rs {
		of[x.name] = x.version
	}
	for _, name := range r.removed {
		delete(of, name)
	}
}

// back says that a stream that came back has all.
func (s *stream) back() {
	if s.returned != nil {
		s.returnedAt = time.Since(s.began)
		close(s.returned)
		s.returned = nil
	}
}

// reopen opens a stream again as Envoy does: it asks for all that it had asked for,
// and says of each resource which version it has.
func (s *stream) reopen(ctx context.Context, addr string, window int) error {
	s.began = time.Now()
	_ = s.cc.Close()
	<-s.ended
	if err := s.connect(ctx, addr, window); err != nil {
		return err
	}
	node := s.node
	for _, t := range []string{typeCDS, typeEDS, typeLDS, typeRDS, typeVHDS} {
		names := s.subs[t]
		if t == typeVHDS {
			names = s.use
		}
		if (t == typeEDS || t == typeRDS || t == typeVHDS) && len(names) == 0 {
			continue
		}
		if err := s.request(ask{typ: t, names: names, held: s.held[t], node: node}); err != nil {
			return err
		}
		node = nil
	}
	return s.request(ask{typ: typeGhost, names: []string{"back"}})
}

// reconnect ends all streams, opens them again at once, and measures until each has
// what it lacked.
func (l *load) reconnect(ctx context.Context) error {
	before, got, begin := l.usage(), l.count.snap(), time.Now()
	var all sync.WaitGroup
	for _, s := range l.streams {
		returned := make(chan struct{})
		s.returned, s.away = returned, true
		all.Go(func() { <-returned })
		go func() {
			err := s.reopen(ctx, l.addr, l.window)
			if err == nil {
				err = s.run()
			}
			if ctx.Err() == nil {
				l.failed <- fmt.Errorf("stream %d: %w", s.id, err)
			}
		}()
	}
	if err := l.wait(&all); err != nil {
		return fmt.Errorf("reconnect: %w", err)
	}
	wall := ms(time.Since(begin))
	time.Sleep(l.settle)
	after := l.usage()
	var each []time.Duration
	for _, s := range l.streams {
		each = append(each, s.returnedAt)
	}
	fmt.Printf("all %d streams ended and came back: %.0f ms; per stream %v; server CPU %.3f s, RSS %.0f MiB\n", l.n, wall, distOf(each), after.server.CPU-before.server.CPU, after.server.RSS)
	again := l.count.snap().sub(got)
	printSnap("  sent again", again, l.n)
	l.result.Reconnect = reconnectResult{Wall: wall, CPU: after.server.CPU - before.server.CPU, Again: again}
	return nil
}

type reconnectResult struct {
	Wall, CPU float64 // ms, seconds
	Again     snapshot
}
