package redis

import (
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

// stats of all proxies with one prefix; names are Envoy's (redis.<stat_prefix>.…).
type stats struct {
	cxTotal, rqTotal, received, sent, invalid, unsupported, protocolErrors, moved *filter.Counter
	cxActive, rqActive                                                            *filter.Gauge
	counter                                                                       func(stat string) *filter.Counter
	commands                                                                      []atomic.Pointer[commandStats] // by ID; nil: not used yet
	all                                                                           *filter.Stats
	clusters                                                                      sync.Map // upstreamKey → *commandStats
}

// commandStats of one command.
type commandStats struct{ total, success, failed, fault, delayed *filter.Counter }

func newStats(c *Config) *stats {
	counter := func(stat string) *filter.Counter { return c.Stats.Counter("redis", c.StatPrefix, stat) }
	return &stats{
		cxTotal: counter("downstream_cx_total"), rqTotal: counter("downstream_rq_total"),
		received: counter("downstream_cx_rx_bytes_total"), sent: counter("downstream_cx_tx_bytes_total"),
		invalid: counter("splitter.invalid_request"), unsupported: counter("splitter.unsupported_command"),
		protocolErrors: counter("downstream_cx_protocol_error"), moved: counter("downstream_cx_moved"),
		cxActive: c.Stats.Gauge("redis", c.StatPrefix, "downstream_cx_active"), rqActive: c.Stats.Gauge("redis", c.StatPrefix, "downstream_rq_active"),
		counter: counter, all: c.Stats, commands: make([]atomic.Pointer[commandStats], len(command.All)),
	}
}

// upstreamKey is a command to a cluster.
type upstreamKey struct {
	cluster string
	id      int
}

// upstream are those of a command to a cluster (Envoy's cluster.<name>.upstream_commands.…).
func (s *stats) upstream(cluster string, c *command.Command) *commandStats {
	k := upstreamKey{cluster, c.ID}
	if st, ok := s.clusters.Load(k); ok {
		return st.(*commandStats)
	}
	name := func(stat string) *filter.Counter {
		return s.all.Counter("cluster", cluster, "upstream_commands."+c.Stat+"."+stat)
	}
	st, _ := s.clusters.LoadOrStore(k, &commandStats{total: name("total"), success: name("success"), failed: name("failure")})
	return st.(*commandStats)
}

// count counts an answer.
func (s *commandStats) count(reply []byte) {
	s.total.Add(1)
	if resp.IsError(reply) {
		s.failed.Add(1)
	} else {
		s.success.Add(1)
	}
}

// of are those of a command.
func (s *stats) of(c *command.Command) *commandStats {
	p := &s.commands[c.ID]
	if st := p.Load(); st != nil {
		return st
	}
	name := func(stat string) *filter.Counter { return s.counter("command." + c.Stat + "." + stat) }
	p.CompareAndSwap(nil, &commandStats{name("total"), name("success"), name("error"), name("error_fault"), name("delay_fault")})
	return p.Load()
}
