// Package filterstate holds the filters that put objects into filter state, of a
// request (envoy.filters.http.set_filter_state) or of a connection
// (envoy.filters.network.set_filter_state): texts made of formats, under keys
// that others ask for. Istio tells with them where a tunnel leads, and with what
// protocols the TLS connection to a host begins.
//
// Objects of keys that nobody here asks for need a factory that makes plain
// texts of them. A text that is none of its key's is left out, as Envoy does.
package filterstate

import (
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// Names of the filters, in Envoy's words.
const (
	Name        = "envoy.filters.http.set_filter_state"
	NetworkName = "envoy.filters.network.set_filter_state"
)

// object makes one object.
type object struct {
	key       string
	text      *format.Format
	fits      func(string) bool
	how       filter.Sharing
	skipEmpty bool
}

// make returns the object for a request or connection; false: there is none.
func (o *object) make(i *filter.Info) (filter.Shared, bool) {
	text, fixed := o.text.Literal()
	if !fixed {
		text = string(o.text.Append(nil, i))
	}
	if text == "" && o.skipEmpty || !o.fits(text) {
		return filter.Shared{}, false
	}
	return filter.Shared{Key: o.key, Value: text, How: o.how}, true
}

// instance has no state: it serves all streams, so that none is made per request.
type instance struct {
	filter.PassThrough
	objects    []object
	clearRoute bool
	// protocols are those of constant ALPN objects.
	protocols []string
}

// New implements filter.HTTPFactory.
func (x *instance) New(filter.Stream) filter.HTTPFilter { return x }

// RequestHeaders makes the objects.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	info := s.Info()
	if x.protocols != nil {
		info.UpstreamALPN = x.protocols
	}
	for i := range x.objects {
		o, ok := x.objects[i].make(info)
		if !ok {
			continue
		}
		info.SetObject(o)
		if o.Key == filter.StateALPN {
			info.UpstreamALPN = Protocols(o.Value.(string))
		}
	}
	if x.clearRoute {
		s.ClearRoute()
	}
	return filter.Continue
}

// network is the filter of connections; it has no state either.
type network struct {
	objects  []object
	readsSNI bool
}

// sniNetwork is a network whose formats have the server's name.
type sniNetwork struct{ *network }

// ReadsSNI implements filter.SNIReader.
func (sniNetwork) ReadsSNI() {}

// New implements filter.NetworkFactory.
func (x *network) New() filter.NetworkFilter { return x }

// Open makes the objects.
func (x *network) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	i := &filter.Info{Conn: info, Start: info.Start, Remote: info.Remote, Metadata: info.Metadata}
	for k := range x.objects {
		if o, ok := x.objects[k].make(i); ok {
			info.SetObject(o)
		}
	}
	return filter.Continue
}

// Closed does nothing.
func (x *network) Closed(*filter.ConnInfo) {}
