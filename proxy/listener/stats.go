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
	OverloadRejects   atomic.Uint64 // downstream_cx_overload_reject
	AcceptErrors      atomic.Uint64
	ForcedByDrainTime atomic.Uint64 // connections cut when the drain time was over
}

// Each yields the statistics by Envoy's names.
func (s *Stats) Each(yield func(name string, value int64) bool) {
	_ = yield("downstream_cx_total", int64(s.Total.Load())) &&
		yield("downstream_cx_active", s.Active.Load()) &&
		yield("downstream_cx_destroy", int64(s.Destroyed.Load())) &&
		yield("no_filter_chain_match", int64(s.NoChain.Load())) &&
		yield("downstream_cx_overload_reject", int64(s.OverloadRejects.Load())) &&
		yield("downstream_pre_cx_active", s.PreActive.Load()) &&
		yield("downstream_pre_cx_timeout", int64(s.PreTimeout.Load())) &&
		yield("ssl.connection_error", int64(s.HandshakeErrors.Load())) &&
		yield("ssl.handshake", int64(s.Handshakes.Load())) &&
		yield("ssl.session_reused", int64(s.SessionsReused.Load())) &&
		yield("total_filter_chains_draining", s.ChainsDraining.Load())
}
