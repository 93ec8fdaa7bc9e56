package listener

import "sync/atomic"

// Stats count what happens to a listener's connections. They go on over
// updates of a listener of the same name. Names are Envoy's.
type Stats struct {
	Total             atomic.Uint64 // downstream_cx_total
	Active            atomic.Int64  // downstream_cx_active
	Destroyed         atomic.Uint64 // downstream_cx_destroy
	NoChain           atomic.Uint64 // no_filter_chain_match
	PreActive         atomic.Int64  // downstream_pre_cx_active
	PreTimeout        atomic.Uint64 // downstream_pre_cx_timeout
	HandshakeErrors   atomic.Uint64 // ssl.connection_error
	Handshakes        atomic.Uint64 // ssl.handshake
	SessionsReused    atomic.Uint64 // ssl.session_reused
	ChainsDraining    atomic.Int64  // total_filter_chains_draining, of this listener
	HandshakeTimeout  atomic.Uint64 // downstream_cx_transport_socket_connect_timeout
	OverloadRejects   atomic.Uint64 // downstream_cx_overload_reject
	Overflow          atomic.Uint64 // downstream_cx_overflow
	GlobalOverflow    atomic.Uint64 // downstream_global_cx_overflow
	Unknown           atomic.Uint64 // extension_config_missing
	NetworkUnknown    atomic.Uint64 // network_extension_config_missing
	open              atomic.Int64  // from when they were accepted: what MaxConns bounds
	AcceptErrors      atomic.Uint64
	DatagramsDropped  atomic.Uint64 // udp.downstream_rx_datagram_dropped
	ForcedByDrainTime atomic.Uint64 // connections cut when the drain time was over
}

// Each yields the statistics by Envoy's names.
func (s *Stats) Each(yield func(name string, value int64) bool) {
	_ = yield("downstream_cx_total", int64(s.Total.Load())) &&
		yield("downstream_cx_active", s.Active.Load()) &&
		yield("downstream_cx_destroy", int64(s.Destroyed.Load())) &&
		yield("no_filter_chain_match", int64(s.NoChain.Load())) &&
		yield("downstream_cx_transport_socket_connect_timeout", int64(s.HandshakeTimeout.Load())) &&
		yield("downstream_cx_overload_reject", int64(s.OverloadRejects.Load())) &&
		yield("downstream_cx_overflow", int64(s.Overflow.Load())) &&
		yield("downstream_global_cx_overflow", int64(s.GlobalOverflow.Load())) &&
		yield("extension_config_missing", int64(s.Unknown.Load())) &&
		yield("network_extension_config_missing", int64(s.NetworkUnknown.Load())) &&
		yield("downstream_pre_cx_active", s.PreActive.Load()) &&
		yield("downstream_pre_cx_timeout", int64(s.PreTimeout.Load())) &&
		yield("udp.downstream_rx_datagram_dropped", int64(s.DatagramsDropped.Load())) &&
		yield("ssl.connection_error", int64(s.HandshakeErrors.Load())) &&
		yield("ssl.handshake", int64(s.Handshakes.Load())) &&
		yield("ssl.session_reused", int64(s.SessionsReused.Load())) &&
		yield("total_filter_chains_draining", s.ChainsDraining.Load())
}
