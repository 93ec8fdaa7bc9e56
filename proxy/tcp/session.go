package tcp

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

// session is one downstream connection. Its steps follow each other, each on
// the goroutine that brings the news; only the timer comes from aside.
type session struct {
	p    *Proxy
	down stream.Conn
	info *filter.ConnInfo
	done func()

	// The steps'.
	cluster *cluster.Cluster
	limits  *cluster.Limits
	host    *cluster.Host
	pick    cluster.Pick
	wanted  cluster.Wanted
	attempt uint32
	joint   *transport.Joint
	// counted is what statistics have; guarded by the Proxy's progress.
	counted filter.Bytes
	// tunnelled: the pool of HTTP connections counts what is counted of a connection.
	tunnelled bool

	mu sync.Mutex
	// Guarded by mu.
	timer   *time.Timer // of MaxDuration
	ticker  *time.Timer // of periodic access logs
	report  *time.Timer // of observers
	told    filter.Bytes
	expired bool
	ended   bool
	stage   uint32 // of abandon: 2n is the n-th dial, 2n+1 what it led to
	abandon func() // ends what is under way: the dial or the Joint
	release func() // takes back that a failing host ends the Joint; nil: it does not
}

// noHead is the head of what has none; it is never written to.
var noHead filter.Headers

// avoidTries is how often a retry looks for a host that was not tried yet.
const avoidTries = 3

func (s *session) begin(w *Weighted) {
	s.cluster = s.p.clusters.Get(w.Name)
	switch {
	case s.cluster != nil:
		s.resolve(w)
	case s.p.cfg.Ask != nil:
		s.ask(w)
	default:
		s.noCluster()
	}
}

func (s *session) noCluster() {
	s.p.stats.noRoute.Add(1)
	s.fail(filter.FlagNoCluster)
}

// ask waits for a cluster that is to come.
func (s *session) ask(w *Weighted) {
	st := s.p.stats
	st.attempt.Add(1)
	told := func(o filter.Outcome) {
		switch o {
		case filter.Found:
			st.success.Add(1)
		case filter.Absent:
			st.missing.Add(1)
		default:
			st.timeout.Add(1)
		}
		if s.cluster = s.p.clusters.Get(w.Name); s.cluster == nil {
			s.noCluster()
			return
		}
		s.resolve(w)
	}
	o, cancel := s.p.cfg.Ask(w.Name, told)
	if o != filter.Waiting {
		told(o)
		return
	}
	s.until(0, func() {
		if cancel() {
			s.fail(filter.FlagNoCluster)
		}
	})
}

// resolve looks the host up that the connection names, where it does, and connects.
func (s *session) resolve(w *Weighted) {
	s.info.Upstream.Cluster = w.Name // Envoy names none that is not there
	s.limits = s.cluster.Limits(cluster.Default)
	s.pick = cluster.Pick{Subset: w.Subset, Dst: s.destination()}
	lb := &s.cluster.Spec().LB
	if lb.Hash != nil {
		s.pick.Hash, s.pick.HasHash = lb.Hash(&noHead, s.info)
	} else if s.p.cfg.HashSourceIP {
		s.pick.Hash, s.pick.HasHash = hashAddr(s.info.Remote.Addr()), true
	} else if text := s.info.Text(s.p.cfg.HashState); text != "" {
		s.pick.Hash, s.pick.HasHash = xxhash.Sum64String(text), true
	}
	if s.cluster.Spec().Type == cluster.DynamicForward && s.info.Forward != "" {
		s.pick.Authority = s.info.Forward
		switch s.cluster.Resolve(s.info.Forward, func(bool) { s.connect() }) {
		case cluster.Resolving:
			return
		case cluster.Resolved:
		default:
			s.fail(filter.FlagDNSResolutionFailed)
			return
		}
	}
	s.connect()
}

// connect makes one attempt.
func (s *session) connect() {
	s.pick.Random = rand.Uint64()
	h, flags := s.wanted.Next(s.cluster, &noHead, s.info.Metadata), filter.ResponseFlags(0)
	if h == nil {
		h, flags = s.cluster.Pick(&s.pick)
	}
	if h == nil {
		s.fail(flags)
		return
	}
	if s.cluster.Spec().Type == cluster.Aggregate {
		s.limits = h.Cluster().Limits(cluster.Default)
	}
	s.host = h
	stage := (s.attempt + 1) * 2 // before Dial: its end may come before its return
	h.Fill(&s.info.Upstream)
	if s.tunnelled = s.p.cfg.Tunnel != nil && s.info.Text(filter.StateNoTunnel) != "true"; s.tunnelled {
		s.attempt++
		s.until(stage, s.openTunnel())
		return
	}
	if !s.limits.AcquireConnection(h) {
		s.fail(filter.FlagUpstreamOverflow)
		return
	}
	s.attempt++
	h.Begin()
	s.until(stage, h.Cluster().Dial(h, s.dialOptions(), s.dialled))
}

// until makes abandon what the timer calls, unless a later stage has come.
func (s *session) until(stage uint32, abandon func()) {
	s.mu.Lock()
	if stage < s.stage {
		s.mu.Unlock()
		return
	}
	expired := s.expired
	s.stage, s.abandon = stage, abandon
	s.mu.Unlock()
	if expired {
		abandon()
	}
}

// dialled is told how an attempt went.
func (s *session) dialled(up stream.Conn, err error) {
	if err == nil {
		s.host.Report(cluster.Connected)
		s.join(up)
		return
	}
	s.limits.Release(cluster.Connections)
	s.host.End(false)
	var de *cluster.DialError
	switch {
	case errors.As(err, &de) && de.Canceled:
	case de != nil && de.Timeout:
		s.host.Report(cluster.ConnectTimedOut)
	default:
		s.host.Report(cluster.ConnectFailed)
	}
	s.info.Upstream.Failure = err.Error()
	s.again(de != nil && de.Canceled)
}

// join couples the two connections.
func (s *session) join(up stream.Conn) {
	u := &s.info.Upstream
	u.Local = up.LocalAddr()
	if r := up.RemoteAddr(); r.IsValid() {
		u.Host = r
	}
	if cs := up.TLS(); cs != nil && len(cs.PeerCertificates) > 0 {
		u.PeerURI = transport.SPIFFEID(cs.PeerCertificates[0])
	}
	u.Failure = "" // of attempts before, whose flag stays, as in Envoy
	for _, o := range s.p.cfg.Observers {
		o.ConnOpened(s.info)
	}
	connected := s.logConnected()
	every := s.reportEvery()
	var copied filter.ConnInfo
	if every > 0 {
		copied = *s.info
	}
	// The end may be told before Join has returned, by this very goroutine: then
	// it waits for joint.
	var end transport.JoinEnd
	var both atomic.Bool
	s.joint = transport.Join(s.down, up, transport.JoinOptions{
		Idle: s.idle(),
		Done: func(e transport.JoinEnd) {
			end = e
			if both.Swap(true) {
				s.finish(e)
			}
		},
	})
	s.p.progress.enter(s) // before the end, which takes it out
	if both.Swap(true) {
		s.finish(end)
		return
	}
	if s.p.cfg.LogEvery > 0 {
		s.logLater(connected)
	}
	if every > 0 {
		s.reportLater(&copied, every)
	}
	s.until(s.attempt*2+1, s.joint.Stop)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.release = s.host.Hold(s.joint.Stop)
	}
}

// finish is told that both connections are closed.
func (s *session) finish(end transport.JoinEnd) {
	received, sent := s.joint.Bytes()
	s.info.Received, s.info.Sent = received, sent
	s.p.progress.leave(s, received, sent)
	if end == transport.JoinIdle {
		s.p.stats.idle.Add(1)
	}
	if !s.tunnelled {
		s.limits.Release(cluster.Connections)
		s.host.Disconnected(end != transport.JoinFailedB, false)
		s.host.End(true)
	}
	s.end()
}

// fail ends a connection that gets no upstream.
func (s *session) fail(f filter.ResponseFlags) {
	s.info.Flags |= f
	s.down.Close()
	s.end()
}

// end is the last step, once.
func (s *session) end() {
	s.mu.Lock()
	s.ended = true
	s.info.Reported = s.told
	for _, t := range [...]*time.Timer{s.timer, s.ticker, s.report} {
		if t != nil {
			t.Stop()
		}
	}
	if s.expired {
		s.info.Flags |= filter.FlagDurationTimeout
	}
	release := s.release
	s.mu.Unlock()
	if release != nil {
		release()
	}
	i := s.info
	i.Duration = time.Since(i.Start)
	for _, o := range s.p.cfg.Observers {
		o.ConnClosed(i)
	}
	s.log(filter.EventTCPEnd, i)
	s.done()
}

// log writes the access logs.
func (s *session) log(e filter.Event, i *filter.ConnInfo) {
	if len(s.p.cfg.AccessLogs) == 0 {
		return
	}
	entry := filter.Info{
		Conn: i, Start: i.Start, Duration: i.Duration, Remote: i.Remote, Upstream: i.Upstream,
		Flags: i.Flags, Received: i.Received, Sent: i.Sent, Metadata: i.Metadata, Event: e,
	}
	for _, l := range s.p.cfg.AccessLogs {
		l.Log(&entry)
	}
}

// logConnected writes an entry when the upstream is connected, if there is to be
// one, and returns a copy of what is known by then.
func (s *session) logConnected() *filter.ConnInfo {
	if !s.p.cfg.LogConnected && s.p.cfg.LogEvery == 0 {
		return nil
	}
	copied := *s.info
	copied.Duration = time.Since(copied.Start)
	if s.p.cfg.LogConnected {
		s.log(filter.EventTCPConnected, &copied)
	}
	return &copied
}

// logLater writes a periodic entry, and again. It works on a copy: the
// connection's own facts are those of the goroutine that ends it.
func (s *session) logLater(copied *filter.ConnInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ticker = time.AfterFunc(s.p.cfg.LogEvery, func() {
		s.mu.Lock()
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return
		}
		copied.Duration = time.Since(copied.Start)
		copied.Received, copied.Sent = s.joint.Bytes()
		s.log(filter.EventTCPPeriodic, copied)
		s.logLater(copied)
	})
}

// reportEvery is the shortest that an observer asks for; 0: none does.
func (s *session) reportEvery() (every time.Duration) {
	for _, o := range s.p.cfg.Observers {
		if d := o.Every(s.info); d > 0 && (every == 0 || d < every) {
			every = d
		}
	}
	return every
}

// reportLater tells observers of the bytes so far, and again. As with logLater it
// works on a copy.
func (s *session) reportLater(copied *filter.ConnInfo, every time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.report = time.AfterFunc(every, func() {
		s.mu.Lock()
		if s.ended {
			s.mu.Unlock()
			return
		}
		received, sent := s.joint.Bytes()
		more := filter.Bytes{Received: received - s.told.Received, Sent: sent - s.told.Sent}
		s.told = filter.Bytes{Received: received, Sent: sent}
		if more != (filter.Bytes{}) { // with the lock: the end waits, so that it tells the rest
			for _, o := range s.p.cfg.Observers {
				o.ConnProgress(copied, more.Received, more.Sent)
			}
		}
		s.mu.Unlock()
		s.reportLater(copied, every)
	})
}

// arm starts the timer of the maximum duration.
func (s *session) arm(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(d, s.expire)
}

func (s *session) expire() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.expired = true
	abandon := s.abandon
	s.mu.Unlock()
	s.p.stats.tooLong.Add(1)
	if abandon != nil {
		abandon()
	}
}

func (s *session) isExpired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired
}
