// Package peermetadata is Istio's HTTP filter envoy.filters.http.peer_metadata
// (istio.metadata_exchange in listeners): it reads who the other proxy is from
// headers, takes those off, and sends the same about its own workload, in both
// directions. What it finds is for the filter istio.stats and for expressions.
//
// Of the methods of discovery, istio_headers and baggage are looked for here.
// workload_discovery asks nothing here: metrics look a peer up by its address
// when nobody has said who it is. What the configuration has beyond that is
// refused by name. A steady peer costs no allocation.
package peermetadata

import (
	"sync"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/peer"
)

// Name of the filter, in Istio's words.
const Name = "envoy.filters.http.peer_metadata"

// Skips tells whether a cluster is to learn nothing: it has opted out, or it is
// outside of the mesh and external asks for that to count.
type Skips func(cluster string, external bool) bool

// method is a way to find out, or to tell, who a peer is.
type method uint8

const (
	headers method = iota
	baggage
	workloads
)

// propagation is a method of telling; external: not to who is outside of the mesh.
type propagation struct {
	method
	external bool
}

type factory struct {
	local  *peer.Local
	cache  *peer.Cache
	skips  Skips
	fromUp []method // who the server is
	from   []method // who the client is
	toUp   []propagation
	to     []propagation
	pool   sync.Pool
}

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter {
	if x, ok := f.pool.Get().(*instance); ok {
		return x
	}
	return &instance{factory: f}
}

// instance is the filter of one stream.
type instance struct {
	filter.PassThrough
	factory *factory
	// What the client has sent is what it wants to be answered with.
	sentID, sentValue, sentBaggage bool
}

// RequestHeaders learns who the client is, and tells the server who this is.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	f := x.factory
	x.sentID, x.sentValue, x.sentBaggage = h.Has(peer.HeaderID), h.Has(peer.HeaderValue), h.Has(peer.HeaderBaggage)
	if p := f.discover(f.from, h); p != nil {
		s.Info().Peer = p
	}
	for _, p := range f.toUp {
		if f.skips != nil && f.skips(s.Cluster(), p.external) {
			continue
		}
		if p.method == baggage {
			h.Set(peer.HeaderBaggage, f.local.Baggage)
			continue
		}
		h.Set(peer.HeaderID, f.local.ID)
		h.Set(peer.HeaderValue, f.local.Value)
	}
	return filter.Continue
}

// ResponseHeaders learns who the server is, and tells the client who this is.
func (x *instance) ResponseHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	f := x.factory
	if p := f.discover(f.fromUp, h); p != nil {
		s.Info().Upstream.Peer = p
	}
	for _, p := range f.to {
		if p.method == baggage {
			if x.sentBaggage {
				h.Set(peer.HeaderBaggage, f.local.Baggage)
			}
			continue
		}
		if x.sentID {
			h.Set(peer.HeaderID, f.local.ID)
		}
		if x.sentValue {
			h.Set(peer.HeaderValue, f.local.Value)
		}
	}
	return filter.Continue
}

// Done gives the instance back.
func (x *instance) Done(filter.Stream) { x.factory.pool.Put(x) }

// discover asks the methods in their order, and takes their headers off.
func (f *factory) discover(methods []method, h *filter.Headers) (found *filter.Peer) {
	for _, m := range methods {
		if found != nil {
			break
		}
		switch m {
		case headers:
			if v, ok := h.Lookup(peer.HeaderValue); ok && v != "" {
				found = f.cache.Decode(h.Get(peer.HeaderID), v)
			}
		case baggage:
			if v, ok := h.Joined(peer.HeaderBaggage); ok {
				found = peer.ParseBaggage(v)
			}
		}
	}
	for _, m := range methods {
		if m == headers {
			h.Del(peer.HeaderID)
			h.Del(peer.HeaderValue)
		}
	}
	return found
}
