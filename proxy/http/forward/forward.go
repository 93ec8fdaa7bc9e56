// Package forward holds the filters that let requests and connections name the
// host they go to (Envoy's dynamic_forward_proxy and sni_dynamic_forward_proxy).
//
// They only say so: the router and the TCP proxy resolve the name, when the route
// leads to a dynamic forward proxy cluster, before they ask that for a host.
// Without one of these filters a name is never looked up.
package forward

import (
	"net"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
)

// Names of the filters.
const (
	Name        = "envoy.filters.http.dynamic_forward_proxy"
	NetworkName = "envoy.filters.network.sni_dynamic_forward_proxy"
)

// rewrite is a route's: the host is replaced by literal, or by a header's value.
type rewrite struct{ literal, header string }

type factory struct {
	filter.PassThrough
	name string
}

// New implements filter.HTTPFactory. The filter has no state.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return f }

// RequestHeaders implements filter.HTTPFilter.
func (f *factory) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	s.Info().Forward = true
	if r, ok := s.RouteConfig(f.name).(*rewrite); ok {
		switch {
		case r.literal != "":
			h.Authority = r.literal
		case r.header != "":
			if v := h.Get(r.header); v != "" {
				h.Authority = v
			}
		}
	}
	if i := s.Info(); i.HasObjects() {
		i.ForwardTo = stated(i.Text, h.Authority, "")
	}
	return filter.Continue
}

// stated is the authority that filter state makes of another one with a default
// port; "" when it has nothing to say.
func stated(text func(string) string, authority, port string) string {
	host, own := text(filter.StateHost), text(filter.StatePort)
	if host == "" && own == "" {
		return ""
	}
	name := authority
	if n, p, err := net.SplitHostPort(authority); err == nil {
		name, port = n, p
	}
	if host != "" {
		name = host
	}
	if own != "" {
		port = own
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if port == "" {
		if strings.Contains(name, ":") {
			return "[" + name + "]"
		}
		return name
	}
	return net.JoinHostPort(name, port)
}

type networkFilter struct{ port uint16 }

// New implements filter.NetworkFactory. The filter has no state.
func (f *networkFilter) New() filter.NetworkFilter { return f }

// ReadsSNI implements filter.SNIReader.
func (f *networkFilter) ReadsSNI() {}

// Open implements filter.NetworkFilter.
func (f *networkFilter) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	port := strconv.Itoa(int(f.port))
	if to := stated(info.Text, info.SNI, port); to != "" && (info.SNI != "" || info.Text(filter.StateHost) != "") {
		info.Forward = to
	} else if info.SNI != "" {
		info.Forward = net.JoinHostPort(info.SNI, port)
	}
	return filter.Continue
}

// Closed implements filter.NetworkFilter.
func (f *networkFilter) Closed(*filter.ConnInfo) {}
