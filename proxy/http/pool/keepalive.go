package pool

import "time"

// keepalive asks the peer of an HTTP/2 connection for a sign of life, as the
// cluster's connection_keepalive says.
type keepalive struct {
	timer *time.Timer
	asked bool
}

func (k *keepalive) stop() {
	if k.timer != nil {
		k.timer.Stop()
	}
}

func (c *h2Conn) startKeepalive() {
	if d := c.pool.cluster.Spec().HTTP.PingInterval; d > 0 {
		c.keeper.timer = time.AfterFunc(d, func() { c.lane.Do(c.keepAlive) })
	}
}

// keepAlive is what the timer does: it asks, and looks for the answer when the
// timeout has passed.
func (c *h2Conn) keepAlive() {
	opt, k := &c.pool.cluster.Spec().HTTP, &c.keeper
	switch {
	case c.closing:
	case !k.asked:
		k.asked = true
		c.cd.Ping()
		c.touch()
		k.timer.Reset(opt.PingTimeout)
	case c.cd.Pinged():
		c.closing = true
		c.withdraw()
		c.conn.Abort() // streams are told when it has gone
	default:
		k.asked = false
		k.timer.Reset(opt.PingInterval)
	}
}
