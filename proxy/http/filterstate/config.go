package filterstate

import (
	"errors"
	"fmt"
	"strings"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config"},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &statev3.Config{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return parse(m.OnRequestHeaders)
		},
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.set_filter_state.v3.Config":             "on_request_headers",
	"envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue": "object_key format_string",
	"envoy.config.core.v3.SubstitutionFormatString":                        "text_format_source",
	"envoy.config.core.v3.DataSource":                                      "inline_string",
}

func parse(values []*commonv3.FilterStateValue) (*instance, error) {
	x := &instance{}
	for i, v := range values {
		at := fmt.Sprintf("on_request_headers[%d]", i)
		if k := v.GetObjectKey(); k != ObjectKey {
			return nil, fmt.Errorf("%s.object_key: %q is not supported; only %s is", at, k, ObjectKey)
		}
		text := v.GetFormatString().GetTextFormatSource().GetInlineString()
		if text == "" || strings.Contains(text, "%") {
			return nil, fmt.Errorf("%s.format_string: %q is not supported; only constant protocols are", at, text)
		}
		x.protocols = nil // of several values the last one holds
		for p := range strings.SplitSeq(text, ",") {
			if p = strings.TrimSpace(p); p == "" || len(p) > 255 {
				return nil, fmt.Errorf("%s.format_string: %q has a protocol of %d bytes; 1 to 255 are possible", at, text, len(p))
			}
			x.protocols = append(x.protocols, p)
		}
	}
	if x.protocols == nil {
		return nil, errors.New("on_request_headers: is empty")
	}
	return x, nil
}
