// Package filterstate is the HTTP filter envoy.filters.http.set_filter_state,
// as far as a mesh needs it: it sets which application protocols (ALPN) the TLS
// connection to the upstream host offers for a request. By them the proxy of
// the server knows what comes on a port whose protocol nobody declared.
//
// Other objects, and values that are not constant, it refuses.
package filterstate

import "github.com/weftmesh/weft/proxy/filter"

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.set_filter_state"

// ObjectKey is the only object that can be set: a list of ALPN protocols.
const ObjectKey = "envoy.network.application_protocols"

// instance has no state: it serves all streams, so that none is made per request.
type instance struct {
	filter.PassThrough
	protocols []string
}

// New implements filter.HTTPFactory.
func (x *instance) New(filter.Stream) filter.HTTPFilter { return x }

// RequestHeaders sets the protocols for the request.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	s.Info().UpstreamALPN = x.protocols
	return filter.Continue
}
