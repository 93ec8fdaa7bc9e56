package http

import (
	"time"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/router"
	"github.com/weftmesh/weft/proxy/route"
)

// A connection has one timer for itself and all its requests. It is armed for
// the earliest deadline and looks at all of them when it fires; a deadline that
// moves away, as idle timeouts do with every byte, costs nothing.

// arm makes the timer fire at t, or before.
func (c *conn) arm(t time.Time) {
	if c.closed || !c.timerAt.IsZero() && !t.Before(c.timerAt) {
		return
	}
	c.timerAt = t
	d := max(t.Sub(c.lane.Now()), 0)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, func() { c.lane.Ex.Post((*alarm)(c)) })
		return
	}
	c.timer.Reset(d)
}

// alarm is the connection as the task of its timer.
type alarm conn

// Run implements serial.Task.
func (a *alarm) Run() {
	c := (*conn)(a)
	c.lane.Begin()
	c.timerAt = time.Time{}
	if !c.closed {
		c.tick(c.lane.Now())
	}
	c.lane.End()
}

// tick does what is due and arms the timer for what is not.
func (c *conn) tick(now time.Time) {
	for s := c.first; s != nil; {
		next := s.next // s may end
		s.tick(now)
		s = next
	}
	if !c.closing {
		c.tickConn(now)
	}
	if c.closing {
		return
	}
	for s := c.first; s != nil; s = s.next {
		if t := s.nextDue(); !t.IsZero() {
			c.arm(t)
		}
	}
	c.armIdle()
	c.armOthers()
}

// tickConn does what is due for the connection itself.
func (c *conn) tickConn(now time.Time) {
	cfg := &c.m.cfg
	if c.tickPart(now); c.closing {
		return
	}
	if d := cfg.IdleTimeout; d > 0 && c.active == 0 && now.Sub(c.idleSince) >= cfg.Overload.Scaled(overload.ConnectionIdle, d) {
		c.m.stats.CxIdleTimeout.Add(1)
		c.goAndClose()
		return
	}
	if d := cfg.MaxConnDuration; d > 0 && now.Sub(c.opened) >= cfg.Overload.Scaled(overload.ConnectionLife, d) && !c.draining {
		c.m.stats.CxMaxDuration.Add(1)
		c.drain()
	}
	if c.draining && now.Sub(c.drainedAt) >= cfg.DrainTimeout {
		if c.active == 0 && c.idleMayClose() {
			c.goAndClose()
			return
		}
		if c.two && !c.refusing {
			c.refusing = true
			c.cd.GoAway(false)
		}
	}
}

// goAndClose says goodbye to an idle connection.
func (c *conn) goAndClose() {
	if c.two {
		c.cd.GoAway(false)
	}
	c.close()
}

func (c *conn) armIdle() {
	if d := c.m.cfg.IdleTimeout; d > 0 && c.active == 0 {
		c.arm(c.m.cfg.Overload.Due(overload.ConnectionIdle, c.idleSince, d, c.lane.Now()))
	}
}

func (c *conn) armOthers() {
	cfg := &c.m.cfg
	c.armPart()
	if d := cfg.MaxConnDuration; d > 0 && !c.draining {
		c.arm(cfg.Overload.Due(overload.ConnectionLife, c.opened, d, c.lane.Now()))
	}
	if c.draining && (c.active == 0 && c.idleMayClose() || c.two && !c.refusing) {
		c.arm(c.drainedAt.Add(cfg.DrainTimeout))
	}
}

// armCall arms the deadlines of a new request.
func (s *call) armCall() {
	cfg := &s.c.m.cfg
	now := s.c.lane.Now()
	s.idle = max(cfg.StreamIdleTimeout, 0)
	var f *route.Forward
	if s.entry != nil {
		f = s.entry.Forward()
	}
	if f != nil && f.IdleTimeout != nil {
		s.idle = *f.IdleTimeout
	}
	if s.idle > 0 {
		s.c.arm(cfg.Overload.Due(overload.StreamIdle, now, s.idle, now))
	}
	s.lifeUntil = time.Time{}
	if d, ok := s.lifetime(f); ok {
		s.lifeUntil = s.info.Start.Add(d)
		s.c.arm(s.lifeUntil)
	}
	if d := cfg.LogEvery; d > 0 {
		s.logAt = now.Add(d)
		s.c.arm(s.logAt)
	}
	s.wholeUntil = time.Time{}
	if d := cfg.RequestTimeout; d > 0 && !s.reqEnd {
		s.wholeUntil = s.info.Start.Add(d)
		s.c.arm(s.wholeUntil)
	}
}

// lifetime is how long the stream may last: what the grpc-timeout header says,
// where the route f (nil: none) takes it, else the route's bound or that of all.
func (s *call) lifetime(f *route.Forward) (d time.Duration, bounded bool) {
	most := s.m.cfg.MaxStreamDuration
	if f == nil {
		return most, most > 0
	}
	if f.MaxStreamDuration != nil {
		most = *f.MaxStreamDuration
	}
	if f.GRPCStreamMax == nil {
		return most, most > 0
	}
	asked, ok := router.GRPCTimeout(s.req)
	if ok {
		most = asked
		if m := *f.GRPCStreamMax; m > 0 {
			most = min(most, m)
		}
		most = max(most-f.GRPCStreamOffset, 0)
	} else if most <= 0 {
		return 0, false
	}
	if !ok || most != asked { // the upstream is to know of the bounds
		router.SetGRPCTimeout(s.req, most)
	}
	return most, true
}

// nextDue is the earliest deadline of a request, zero: none.
func (s *call) nextDue() time.Time {
	next := s.rt.Next()
	idle := time.Time{}
	if s.idle > 0 {
		idle = s.m.cfg.Overload.Due(overload.StreamIdle, s.moved, s.idle, s.c.lane.Now())
	}
	for _, t := range [...]time.Time{idle, s.lifeUntil, s.wholeUntil, s.logAt} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// tick ends a request that has taken too long.
func (s *call) tick(now time.Time) {
	st := s.c.m.stats
	late := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if late(s.logAt) {
		s.logAt = now.Add(s.m.cfg.LogEvery)
		s.info.Duration = now.Sub(s.info.Start)
		s.log(filter.EventPeriodic)
	}
	switch {
	case late(s.wholeUntil) && !s.reqEnd:
		st.RqTimeout.Add(1)
		s.expire(filter.LocalReply{Body: "request timeout", Details: "request_overall_timeout", GRPCStatus: -1})
	case late(s.lifeUntil):
		st.RqMaxDuration.Add(1)
		s.expire(filter.LocalReply{Body: "downstream duration timeout", Details: "max_duration_timeout", GRPCStatus: grpcDeadlineExceeded})
	case s.idle > 0 && now.Sub(s.moved) >= s.m.cfg.Overload.Scaled(overload.StreamIdle, s.idle):
		st.RqIdleTimeout.Add(1)
		s.expire(filter.LocalReply{Body: "stream timeout", Details: "stream_idle_timeout", GRPCStatus: -1, Flags: filter.FlagStreamIdleTimeout})
	default:
		s.rt.Tick(now)
	}
}

// grpcDeadlineExceeded is the gRPC status of that name.
const grpcDeadlineExceeded = 4

// expire answers a timeout, or cuts the response off.
func (s *call) expire(r filter.LocalReply) {
	r.Status = 408
	if s.reqEnd {
		r.Status = 504
	}
	s.Reply(r)
}
