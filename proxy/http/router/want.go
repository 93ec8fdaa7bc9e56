package router

import (
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// want is the protocol for the upstream.
func (r *Router) want() pool.Want {
	if r.Terminate != nil {
		return pool.WantRaw
	}
	return r.wantOf(r.x, r.host)
}

// wantOf is the protocol of an exchange with a host, by its cluster.
func (r *Router) wantOf(x *pool.Exchange, h *cluster.Host) pool.Want {
	if x.Messages = r.cfg.Messages; x.Messages == nil {
		x.Messages, _ = r.ds.Info().Messages.(*codec.Protocol) // a filter has made it a message
	}
	if x.Messages != nil {
		return pool.WantMessages
	}
	switch x.Cluster.Spec().Protocol {
	case cluster.HTTP2:
		return pool.WantHTTP2
	case cluster.UseDownstream:
		if r.ds.Info().Protocol == "HTTP/2" {
			return pool.WantHTTP2
		}
	case cluster.AutoALPN:
		if h.Secure() {
			return pool.WantALPN
		}
	}
	return pool.WantHTTP1
}
