// Package originalsrc is Envoy's HTTP filter original_src: connections upstream are
// made from the client's address, as it is known of the request (a trusted
// x-forwarded-for counts). The connections of different clients are apart, also those
// of HTTP/2. Binding to others' addresses needs CAP_NET_ADMIN, and routes by
// which the answers find back; the mark is for those.
package originalsrc

import "github.com/weftmesh/weft/proxy/filter"

// Name of the filter.
const Name = "envoy.filters.http.original_src"

type factory struct {
	filter.PassThrough
	mark int
}

// New implements filter.HTTPFactory. The filter has no state: one serves all streams.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return f }

// RequestHeaders notes where the connection is to come from.
func (f *factory) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	info := s.Info()
	info.Origin = filter.Origin{Addr: info.Remote.Addr().Unmap(), Mark: f.mark}
	return filter.Continue
}
