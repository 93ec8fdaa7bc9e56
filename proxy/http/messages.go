package http

import (
	l7 "github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/http/message"
)

// speakMessages makes the connection one of a protocol that is not HTTP.
func (c *conn) speakMessages(p *l7.Protocol) {
	c.two = true
	c.cd = message.NewServer((*events)(c), p)
	c.sayGoing()
}

// maxUnsent bounds what waits for a client of messages, in bytes.
const maxUnsent = 64 << 20

// deaf cuts off a client that has asked for much and reads nothing: answers know no window. It is not
// read from meanwhile, but answers to what it has asked before come on.
func (c *conn) deaf() bool {
	if c.m.cfg.Messages == nil || c.c.Buffered()+c.cd.Retained() <= maxUnsent {
		return false
	}
	c.closing = true
	c.c.Abort() // calls are told when it has gone
	return true
}

// admitMessage is admit for requests that are not HTTP: what they say is taken as it is.
func (s *call) admitMessage() {
	h, p := s.req, s.m.cfg.Messages
	if h.Scheme == "" {
		h.Scheme = s.c.scheme()
	}
	if p.MutableRequests && !s.m.cfg.NoRequestID {
		f := seen{requestID: h.Has("x-request-id")}
		s.requestID(h, &f, false)
	}
}
