package extauthz

import (
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// connections lets another server decide about connections. It is its own factory.
type connections struct {
	ask                                       func(info *filter.ConnInfo, done func(*decision)) (cancel func())
	only                                      *route.MetadataTest // connections that other filters have marked; nil: all
	disabled                                  *filter.Counter
	open                                      bool
	total, ok, denied, failed, opened, closed *filter.Counter
	active                                    *filter.Gauge
}

// New implements filter.NetworkFactory.
func (x *connections) New() filter.NetworkFilter { return x }

// Open asks. A connection that has just arrived has a goroutine of its own until
// it is handed on, where the handshake was waited for too; the service's timeout
// bounds this, and the client's end.
func (x *connections) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	if x.only != nil {
		if ok, _ := x.only.Matches(&filter.Info{Conn: info, Metadata: info.Metadata}); !ok {
			x.disabled.Add(1)
			return filter.Continue
		}
	}
	x.total.Add(1)
	x.active.Add(1)
	answer := make(chan *decision, 1)
	cancel := x.ask(info, func(d *decision) { answer <- d })
	d, there := filter.Await(info, answer)
	x.active.Add(-1)
	if !there {
		cancel()
		return filter.Reply
	}
	switch {
	case d.kind == allowed:
		x.ok.Add(1)
		return filter.Continue
	case d.kind == denied:
		x.denied.Add(1)
		info.Termination = "auth_denied"
	case x.open:
		x.failed.Add(1)
		x.opened.Add(1)
		return filter.Continue
	default:
		x.failed.Add(1)
		info.Termination = "auth_error"
	}
	info.Flags |= filter.FlagUnauthorizedExternal
	x.closed.Add(1)
	return filter.Reply
}

// Closed does nothing.
func (x *connections) Closed(*filter.ConnInfo) {}
