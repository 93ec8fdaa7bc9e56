package alpn

import (
	"fmt"

	"google.golang.org/protobuf/types/known/anypb"
	alpnv2 "istio.io/api/envoy/config/filter/http/alpn/v2alpha1"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter. protocol tells what is spoken to a cluster.
func Kind(protocol Protocol) filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/" + message},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &alpnv2.FilterConfig{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			f := &factory{protocol: protocol}
			for i, o := range m.AlpnOverride {
				for _, p := range o.AlpnOverride {
					if p == "" || len(p) > 255 {
						return nil, fmt.Errorf("alpn_override[%d].alpn_override: %q has %d bytes; 1 to 255 are possible", i, p, len(p))
					}
				}
				switch o.UpstreamProtocol {
				case alpnv2.FilterConfig_HTTP10:
					f.http10 = o.AlpnOverride
				case alpnv2.FilterConfig_HTTP11:
					f.http11 = o.AlpnOverride
				case alpnv2.FilterConfig_HTTP2:
					f.http2 = o.AlpnOverride
				default:
					return nil, fmt.Errorf("alpn_override[%d].upstream_protocol: %v is not supported", i, o.UpstreamProtocol)
				}
			}
			return f, nil
		},
	}
}

const message = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"

var supported = strict.Table{message: "alpn_override", message + ".AlpnOverride": "upstream_protocol alpn_override"}
