package http

import (
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/h1"
	"github.com/weftmesh/weft/proxy/http/message"
)

// Ways of a connection to another process: drained, or moved.

// leave is drain for the proxy's sake, which can wait.
func (c *conn) leave() {
	c.patient = true
	if !c.move() {
		c.drain()
	}
}

// idleMayClose tells whether a connection that is being drained may be closed
// under a client that is silent.
func (c *conn) idleMayClose() bool { return c.two || !c.patient }

// drain asks the client to go elsewhere.
func (c *conn) drain() {
	if c.draining || c.closing {
		return
	}
	c.draining = true
	c.m.stats.CxDrainClose.Add(1)
	if c.cd != nil {
		c.cd.GoAway(true)
	}
	c.drainedAt = c.lane.Now()
	c.arm(c.drainedAt.Add(c.m.cfg.DrainTimeout))
}

// move gives an idle connection of HTTP/1 or of messages to the process that has taken over. false: it
// stays, for a request is under way, or nobody takes it.
func (c *conn) move() bool {
	if c.info.Mover == nil || c.flows || c.active > 0 || c.closing || len(c.sniff) > 0 {
		return false
	}
	r := filter.Resumed{Requests: c.requests, Idle: c.idleSince}
	switch cd := c.cd.(type) {
	case nil:
	case *h1.Conn:
		if !cd.Fresh() {
			return false
		}
		r.Protocol = protocolHTTP1
	case *message.Server:
		if !cd.Fresh() {
			return false
		}
		r.Protocol = cd.Protocol()
	default:
		return false
	}
	if !c.info.Mover.Move(c.c, r) {
		return false
	}
	c.closing, c.moved = true, true
	return true
}

// protocolHTTP1 is the protocol of connections that are moved.
const protocolHTTP1 = "http/1"

// resumes tells whether the client has spoken HTTP/1 with a process before.
func (c *conn) resumes() bool {
	return c.info.Resumed != nil && c.info.Resumed.Protocol == protocolHTTP1
}
