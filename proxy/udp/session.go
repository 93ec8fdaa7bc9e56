package udp

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/datagram"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
)

// session is one client's datagrams, and the answers.
type session struct {
	// Set at construction.
	p       *Proxy
	key     key
	cluster *cluster.Cluster // whose connections it counts as
	host    *cluster.Host
	down    *datagram.Socket
	up      *datagram.Socket
	dest    *datagram.Dest // the client
	info    filter.ConnInfo

	used  atomic.Int64 // when something has last moved, as monotonic tells
	ended atomic.Bool
	moved atomic.Bool   // to another process
	quiet chan struct{} // closed when answers are not read any more

	rxBytes, rxDatagrams, txBytes, txDatagrams, txErrors atomic.Uint64

	mu sync.Mutex
	// Guarded by mu.
	idle, report *time.Timer
}

var (
	sessionIDs atomic.Uint64
	epoch      = time.Now()
)

// monotonic is the time in nanoseconds.
func monotonic() int64 { return int64(time.Since(epoch)) }

// run makes a session known and begins to read answers; false: it has ended already.
// The connection of its cluster's limits is the session's.
func (s *session) run(up *datagram.Socket, h *cluster.Host) bool {
	s.up, s.host, s.quiet = up, h, make(chan struct{})
	s.dest = s.down.Dest(s.key.peer, s.key.local.Addr())
	s.info.Upstream.Host, s.info.Upstream.Local = h.Addr(), up.Local()
	s.used.Store(monotonic())
	p := s.p
	p.stats.Active.Add(1)
	p.active.Add(1)
	h.Cluster().Stats().UDPSessions.Add(1)
	t := p.table
	t.mu.Lock()
	late := t.closed[p]
	if !late {
		t.sessions[s.key] = s
	}
	t.mu.Unlock()
	go s.answers()
	s.mu.Lock()
	s.idle = time.AfterFunc(p.cfg.Idle, s.check)
	if p.cfg.LogEvery > 0 && len(p.cfg.AccessLogs) > 0 {
		s.report = time.AfterFunc(p.cfg.LogEvery, s.logPeriodic)
	}
	s.mu.Unlock()
	if late || !sessionsOf(h).add(s) {
		s.end()
		return false
	}
	return true
}

// check ends the session if it is idle.
func (s *session) check() {
	left := s.p.cfg.Idle - time.Duration(monotonic()-s.used.Load())
	if left > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.ended.Load() {
			s.idle.Reset(left)
		}
		return
	}
	if s.leave() {
		s.p.stats.IdleTimeout.Add(1)
		s.finish()
	}
}

// end ends the session, unless it has ended.
func (s *session) end() {
	if s.leave() {
		s.finish()
	}
}

// leave takes the session out of everything that knows it; false: it is out.
func (s *session) leave() bool {
	if s.ended.Swap(true) {
		return false
	}
	t := s.p.table
	t.mu.Lock()
	if t.sessions[s.key] == s {
		delete(t.sessions, s.key)
	}
	t.mu.Unlock()
	sessionsOf(s.host).remove(s)
	s.mu.Lock()
	s.idle.Stop()
	if s.report != nil {
		s.report.Stop()
	}
	s.mu.Unlock()
	return true
}

// finish closes and counts what leave has taken out.
func (s *session) finish() {
	_ = s.up.Close()
	s.uncount()
	s.log(filter.EventUDPEnd)
}

func (s *session) uncount() {
	s.cluster.Limits(cluster.Default).Release(cluster.Connections)
	s.host.Cluster().Stats().UDPSessions.Add(-1)
	s.p.stats.Active.Add(-1)
	s.p.active.Add(-1)
}

// send sends a client's datagrams to the host; false: the session has ended meanwhile.
func (s *session) send(w *datagram.Writer, now int64) bool {
	s.used.Store(now)
	sent := w.Send(s.up)
	if sent.Err != nil && isClosed(sent.Err) {
		return false
	}
	st := s.host.Cluster().Stats()
	if sent.Failed > 0 {
		st.UDPTxErrors.Add(uint64(sent.Failed))
	}
	st.UDPTx.Add(uint64(sent.Datagrams))
	st.UpstreamCxTxBytesTotal.Add(sent.Bytes)
	return true
}

// received counts datagrams of the client.
func (s *session) received(n int, bytes uint64) {
	s.p.stats.RxDatagrams.Add(uint64(n))
	s.p.stats.RxBytes.Add(bytes)
	s.rxDatagrams.Add(uint64(n))
	s.rxBytes.Add(bytes)
}

// writers are those of all sessions' answers.
var writers = sync.Pool{New: func() any { return datagram.NewWriter(BatchSize) }}

// answers reads what the host sends until the session ends or moves.
func (s *session) answers() {
	defer close(s.quiet)
	r := datagram.NewReader(s.up, s.p.upstream)
	st := s.host.Cluster().Stats()
	lost := uint32(0)
	for {
		b, err := r.Read()
		switch {
		case err == nil:
		case isClosed(err), errors.Is(err, os.ErrDeadlineExceeded) && s.moved.Load():
			return
		default: // ICMP's: what was sent has not arrived
			st.UDPRxErrors.Add(1)
			s.used.Store(monotonic())
			continue
		}
		s.used.Store(monotonic())
		if n, ok := b.Lost(); ok && n != lost {
			st.UDPRxDropped.Add(uint64(n - lost))
			lost = n
		}
		s.answer(st, b)
		s.p.upstream.Put(b)
	}
}

// answer passes a batch on to the client.
func (s *session) answer(st *cluster.Stats, b *datagram.Batch) {
	w := writers.Get().(*datagram.Writer)
	bytes, n := uint64(0), 0
	for i := range b.Len() {
		if b.Truncated(i) {
			st.UDPRxDropped.Add(1)
			continue
		}
		p := b.Payload(i)
		bytes += uint64(len(p))
		n++
		w.Add(s.dest, p)
	}
	st.UDPRx.Add(uint64(n))
	st.UpstreamCxRxBytesTotal.Add(bytes)
	sent := w.Send(s.down)
	writers.Put(w)
	s.p.stats.TxDatagrams.Add(uint64(sent.Datagrams))
	s.p.stats.TxBytes.Add(sent.Bytes)
	s.txDatagrams.Add(uint64(sent.Datagrams))
	s.txBytes.Add(sent.Bytes)
	if sent.Failed > 0 {
		s.p.stats.TxErrors.Add(uint64(sent.Failed))
		s.txErrors.Add(uint64(sent.Failed))
	}
}

// log writes the access logs of the session.
func (s *session) log(e filter.Event) {
	if len(s.p.cfg.AccessLogs) == 0 {
		return
	}
	i := s.info
	i.Duration = time.Since(i.Start)
	i.Received, i.Sent = s.rxBytes.Load(), s.txBytes.Load()
	i.SetMetadata("udp.proxy.session", map[string]any{
		"cluster_name": s.cluster.Name(), "bytes_received": float64(i.Received), "bytes_sent": float64(i.Sent),
		"datagrams_received": float64(s.rxDatagrams.Load()), "datagrams_sent": float64(s.txDatagrams.Load()),
		"errors_sent": float64(s.txErrors.Load()),
	})
	write(s.p.cfg.AccessLogs, e, &i)
}

func (s *session) logPeriodic() {
	s.log(filter.EventUDPPeriodic)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended.Load() {
		s.report.Reset(s.p.cfg.LogEvery)
	}
}
