// Package alpn is Istio's HTTP filter istio.alpn: it chooses by the protocol
// that is spoken to the upstream which application protocols the TLS connection
// offers, so that the proxy of the server knows what comes. A cluster whose
// metadata says istio.alpn_override: "false" keeps its own.
package alpn

import "github.com/weftmesh/weft/proxy/filter"

// Name of the filter, in Istio's words.
const Name = "istio.alpn"

// Protocol tells what a cluster is spoken to with for a client's protocol
// ("HTTP/1.1", "HTTP/2"); false: its protocols are to stay as they are.
type Protocol func(cluster, client string) (protocol string, ok bool)

type factory struct {
	filter.PassThrough
	protocol              Protocol
	http10, http11, http2 []string
}

// New implements filter.HTTPFactory. The filter has no state: one serves all streams.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return f }

// RequestHeaders sets the protocols for the request.
func (f *factory) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	name := s.Cluster()
	if name == "" {
		return filter.Continue
	}
	info := s.Info()
	p, ok := f.protocol(name, info.Protocol)
	if !ok {
		return filter.Continue
	}
	list := f.http11
	switch p {
	case "HTTP/1.0":
		list = f.http10
	case "HTTP/2":
		list = f.http2
	}
	if len(list) > 0 {
		info.UpstreamALPN = list
	}
	return filter.Continue
}
