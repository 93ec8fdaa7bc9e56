package filterstate

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
)

func value(key, text string) *commonv3.FilterStateValue {
	return &commonv3.FilterStateValue{
		Key: &commonv3.FilterStateValue_ObjectKey{ObjectKey: key},
		Value: &commonv3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: text},
			}},
		}},
	}
}

type stream struct {
	filter.Stream
	info filter.Info
}

func (s *stream) Info() *filter.Info { return &s.info }

func TestFilter(t *testing.T) {
	readOnly := value(ObjectKey, "h2")
	readOnly.ReadOnly = true
	for _, tc := range []struct {
		name   string
		values []*commonv3.FilterStateValue
		want   []string
		fails  string
	}{
		{"one", []*commonv3.FilterStateValue{value(ObjectKey, "istio")}, []string{"istio"}, ""},
		{"list", []*commonv3.FilterStateValue{value(ObjectKey, "istio-http/1.1, istio")}, []string{"istio-http/1.1", "istio"}, ""},
		{"last holds", []*commonv3.FilterStateValue{value(ObjectKey, "a"), value(ObjectKey, "b")}, []string{"b"}, ""},
		{"none", nil, nil, "on_request_headers"},
		{"other object", []*commonv3.FilterStateValue{value("envoy.tcp_proxy.cluster", "x")}, nil, "object_key"},
		{"command", []*commonv3.FilterStateValue{value(ObjectKey, "%PROTOCOL%")}, nil, "format_string"},
		{"empty protocol", []*commonv3.FilterStateValue{value(ObjectKey, "a,,b")}, nil, "format_string"},
		{"field that is not supported", []*commonv3.FilterStateValue{readOnly}, nil, "read_only"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := anypb.New(&statev3.Config{OnRequestHeaders: tc.values})
			if err != nil {
				t.Fatal(err)
			}
			f, err := Kind().Parse(&filter.ParseContext{}, a)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("error %v, want one that names %s", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := &stream{}
			if v := f.New(s).RequestHeaders(s, nil, true); v != filter.Continue {
				t.Errorf("verdict %v", v)
			}
			if diff := cmp.Diff(tc.want, s.info.UpstreamALPN); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
