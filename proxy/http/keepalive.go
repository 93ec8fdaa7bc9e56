package http

import (
	"time"

	"github.com/weftmesh/weft/proxy/http/h2"
)

// keepalive asks the client of an HTTP/2 connection for a sign of life
// (connection_keepalive), so that what leads nowhere any more is not held for ever.
type keepalive struct {
	timer *time.Timer
	asked bool
}

func (c *conn) startKeepalive() {
	if d := c.m.cfg.HTTP2.PingInterval; d > 0 {
		c.keeper = &keepalive{timer: time.AfterFunc(d, func() { c.lane.Do(c.keepAlive) })}
	}
}

// keepAlive is what the timer does: it asks, and looks for the answer when the
// timeout has passed.
func (c *conn) keepAlive() {
	k, cd, opt := c.keeper, c.cd.(*h2.Conn), &c.m.cfg.HTTP2
	switch {
	case c.closing:
	case !k.asked:
		k.asked = true
		cd.Ping()
		k.timer.Reset(opt.PingTimeout)
	case cd.Pinged():
		c.c.Abort() // its requests are told when it has gone
	default:
		k.asked = false
		k.timer.Reset(opt.PingInterval)
	}
}
