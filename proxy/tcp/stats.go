package tcp

import "github.com/weftmesh/weft/proxy/filter"

// stats of all proxies with one prefix; names are Envoy's (tcp.<stat_prefix>.…).
// Bytes are counted every countEvery, and when a connection ends.
type stats struct {
	total, noRoute, received, sent, idle, tooLong *filter.Counter
	// attempt counts clusters that were asked for, the others how that ended. Like
	// Envoy's they are there only where clusters are asked for.
	attempt, success, missing, timeout *filter.Counter
}

func newStats(c *Config) *stats {
	counter := func(stat string) *filter.Counter { return c.Stats.Counter("tcp", c.StatPrefix, stat) }
	s := &stats{
		total: counter("downstream_cx_total"), noRoute: counter("downstream_cx_no_route"),
		received: counter("downstream_cx_rx_bytes_total"), sent: counter("downstream_cx_tx_bytes_total"),
		idle: counter("idle_timeout"), tooLong: counter("max_downstream_connection_duration"),
	}
	if c.Ask != nil {
		s.attempt, s.success = counter("on_demand_cluster_attempt"), counter("on_demand_cluster_success")
		s.missing, s.timeout = counter("on_demand_cluster_missing"), counter("on_demand_cluster_timeout")
	}
	return s
}
