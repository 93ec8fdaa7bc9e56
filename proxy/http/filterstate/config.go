package filterstate

import (
	"errors"
	"fmt"
	"strings"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http/match"
)

const (
	httpType    = "envoy.extensions.filters.http.set_filter_state.v3.Config"
	networkType = "envoy.extensions.filters.network.set_filter_state.v3.Config"
)

var supported = strict.Table{
	httpType:    "on_request_headers clear_route_cache",
	networkType: "on_new_connection on_downstream_tls_handshake",
	"envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue": "object_key factory_key format_string read_only " +
		"shared_with_upstream skip_if_empty",
	"envoy.config.core.v3.SubstitutionFormatString": "text_format text_format_source omit_empty_values",
	"envoy.config.core.v3.DataSource":               "inline_string inline_bytes",
}

// Kind describes the filter of requests; o is for formats.
func Kind(o format.Options) filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/" + httpType},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			return parseHTTP(a, o)
		},
	}
}

// NetworkKind describes the filter of connections.
func NetworkKind(o format.Options) filter.NetworkKind {
	return filter.NetworkKind{
		Name:     NetworkName,
		TypeURLs: []string{"type.googleapis.com/" + networkType},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
			m := &networkv3.Config{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			x := &network{}
			if err := x.parse("on_new_connection", m.OnNewConnection, o); err != nil {
				return nil, err
			}
			// Both are due when a connection is ready, which is after its handshake.
			if err := x.parse("on_downstream_tls_handshake", m.OnDownstreamTlsHandshake, o); err != nil {
				return nil, err
			}
			if x.readsSNI {
				return sniNetwork{x}, nil
			}
			return x, nil
		},
	}
}

func (x *network) parse(field string, list []*commonv3.FilterStateValue, o format.Options) error {
	for i, v := range list {
		b, err := parse(v, o)
		if err != nil {
			return fmt.Errorf("%s[%d].%w", field, i, err)
		}
		x.objects = append(x.objects, b)
		x.readsSNI = x.readsSNI || strings.Contains(textOf(v), "REQUESTED_SERVER_NAME")
	}
	return nil
}

func parseHTTP(a *anypb.Any, o format.Options) (*instance, error) {
	m := &statev3.Config{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	x := &instance{clearRoute: m.ClearRouteCache}
	for i, v := range m.OnRequestHeaders {
		b, err := parse(v, o)
		if err != nil {
			return nil, fmt.Errorf("on_request_headers[%d].%w", i, err)
		}
		if text, fixed := b.text.Literal(); fixed && b.key == filter.StateALPN && b.how == filter.ShareNone {
			if b.fits(text) { // what meshes set for every request costs nothing
				x.protocols = Protocols(text)
			}
			continue
		}
		x.objects = append(x.objects, b)
	}
	if len(m.OnRequestHeaders) == 0 {
		return nil, errors.New("on_request_headers: is empty")
	}
	return x, nil
}

func textOf(v *commonv3.FilterStateValue) string {
	f := v.GetFormatString()
	if s := f.GetTextFormat(); s != "" { //nolint:staticcheck // deprecated, still written
		return s
	}
	if s := f.GetTextFormatSource().GetInlineString(); s != "" {
		return s
	}
	return string(f.GetTextFormatSource().GetInlineBytes())
}

func parse(v *commonv3.FilterStateValue, o format.Options) (object, error) {
	b := object{key: v.GetObjectKey(), skipEmpty: v.SkipIfEmpty}
	if b.key == "" {
		return b, errors.New("object_key: is empty")
	}
	factory := v.FactoryKey
	if factory == "" {
		factory = b.key
	}
	if b.fits = factories[factory]; b.fits == nil {
		if v.FactoryKey != "" {
			return b, fmt.Errorf("factory_key: %q is not supported", factory)
		}
		return b, fmt.Errorf("object_key: %q is not supported without a factory_key, which may be envoy.string", b.key)
	}
	if v.GetFormatString() == nil {
		return b, errors.New("format_string: is missing")
	}
	o.Missing = "-"
	if v.GetFormatString().OmitEmptyValues {
		o.Missing = ""
	}
	text, err := format.Compile(textOf(v), o)
	if err != nil {
		return b, fmt.Errorf("format_string: %w", err)
	}
	b.text = text
	switch v.SharedWithUpstream {
	case commonv3.FilterStateValue_ONCE:
		b.how = filter.ShareOnce
	case commonv3.FilterStateValue_TRANSITIVE:
		b.how = filter.ShareTransitive
	}
	return b, nil
}
