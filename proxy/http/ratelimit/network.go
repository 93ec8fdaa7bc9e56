package ratelimit

import (
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/descriptor"
)

// connections has connections counted by the service. It is its own factory.
type connections struct {
	ask         asker
	domain      string
	descriptors []descriptor.Descriptor
	deny        bool // when the service fails

	total, ok, over, failed, opened, closed *filter.Counter
	active                                  *filter.Gauge
}

// New implements filter.NetworkFactory.
func (x *connections) New() filter.NetworkFilter { return x }

// Open asks. A connection that has just arrived has a goroutine of its own until
// it is handed on, where the handshake was waited for too; the timeout bounds this,
// and the client's end.
func (x *connections) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	x.total.Add(1)
	x.active.Add(1)
	answer := make(chan *verdict, 1)
	cancel := x.ask(x.domain, x.descriptors, func(v *verdict) { answer <- v })
	v, there := filter.Await(info, answer)
	x.active.Add(-1)
	if !there {
		cancel()
		return filter.Reply
	}
	switch {
	case v == nil && x.deny:
		x.failed.Add(1)
		info.Flags |= filter.FlagRateLimitServiceError
		info.Termination = "ratelimit_error_close"
	case v == nil:
		x.failed.Add(1)
		x.opened.Add(1)
		return filter.Continue
	case v.over:
		x.over.Add(1)
		info.Flags |= filter.FlagRateLimited
		info.Termination = "ratelimit_close_over_limit"
	default:
		x.ok.Add(1)
		return filter.Continue
	}
	x.closed.Add(1)
	return filter.Reply
}

// Closed does nothing.
func (x *connections) Closed(*filter.ConnInfo) {}
