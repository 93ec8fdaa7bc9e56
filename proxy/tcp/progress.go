package tcp

import (
	"sync"
	"time"
)

// countEvery is how often the bytes of connections that last are counted.
const countEvery = time.Second

// progress counts the bytes of the connections that are joined, as they go on: with
// one timer for all of them, which stands while there are any.
type progress struct {
	mu    sync.Mutex
	live  map[*session]struct{}
	timer *time.Timer
}

func (p *progress) enter(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == nil {
		p.live = map[*session]struct{}{}
	}
	p.live[s] = struct{}{}
	switch {
	case len(p.live) > 1:
	case p.timer == nil:
		p.timer = time.AfterFunc(countEvery, p.tick)
	default:
		p.timer.Reset(countEvery)
	}
}

func (p *progress) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.live {
		s.count(s.joint.Bytes())
	}
	if len(p.live) > 0 {
		p.timer.Reset(countEvery)
	}
}

// leave counts the rest of a connection that has ended.
func (p *progress) leave(s *session, received, sent uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live, s)
	if len(p.live) == 0 && p.timer != nil {
		p.timer.Stop()
	}
	s.count(received, sent)
}

// count counts what has come since it was called last. One call at a time.
func (s *session) count(received, sent uint64) {
	in, out := received-s.counted.Received, sent-s.counted.Sent
	s.counted.Received, s.counted.Sent = received, sent
	s.p.stats.received.Add(in)
	s.p.stats.sent.Add(out)
	if !s.tunnelled {
		st := s.host.Cluster().Stats()
		st.UpstreamCxTxBytesTotal.Add(in)
		st.UpstreamCxRxBytesTotal.Add(out)
	}
}
