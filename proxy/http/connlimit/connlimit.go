// Package connlimit is the network filter envoy.filters.network.connection_limit:
// it closes connections over the number that its filter chain may have at once.
//
// The count is that of one configuration, as in Envoy: a chain that an update
// replaces begins to count anew. A delay before the close makes clients that come
// again at once slower; the connection waits for it on the goroutine that brought it.
package connlimit

import (
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.network.connection_limit"

// Config is a parsed configuration. It makes the filters.
type Config struct {
	max     uint64
	enabled runtime.Flag
	delay   time.Duration // before a connection is closed
	now     atomic.Uint64

	limited *filter.Counter
	active  *filter.Gauge
}

// New implements filter.NetworkFactory.
func (c *Config) New() filter.NetworkFilter { return &instance{cfg: c} }

// instance is the filter of one connection.
type instance struct {
	cfg               *Config
	counted, accepted bool
}

// Open counts the connection, and closes it when it is one too many.
func (x *instance) Open(stream.Conn, *filter.ConnInfo) filter.Verdict {
	c := x.cfg
	if !c.enabled.On() {
		return filter.Continue
	}
	x.counted = true
	c.active.Add(1)
	if c.now.Add(1) > c.max {
		c.now.Add(^uint64(0))
		c.limited.Add(1)
		if c.delay > 0 {
			<-time.NewTimer(c.delay).C
		}
		return filter.Reply
	}
	x.accepted = true
	return filter.Continue
}

// Closed gives the place back.
func (x *instance) Closed(*filter.ConnInfo) {
	if x.counted {
		x.cfg.active.Add(-1)
	}
	if x.accepted {
		x.cfg.now.Add(^uint64(0))
	}
}
