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
	"github.com/weftmesh/weft/proxy/filter/format"
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

type fakeStream struct {
	filter.Stream
	info filter.Info
}

func (s *fakeStream) Info() *filter.Info { return &s.info }

func TestFilter(t *testing.T) {
	other := value("own.key", "x")
	other.FactoryKey = "envoy.string"
	bad := value("own.key", "x")
	bad.FactoryKey = "envoy.nothing"
	for _, tc := range []struct {
		name   string
		values []*commonv3.FilterStateValue
		want   []string
		fails  string
	}{
		{"one", []*commonv3.FilterStateValue{value(filter.StateALPN, "istio")}, []string{"istio"}, ""},
		{"list", []*commonv3.FilterStateValue{value(filter.StateALPN, "istio-http/1.1, istio")}, []string{"istio-http/1.1", "istio"}, ""},
		{"last holds", []*commonv3.FilterStateValue{value(filter.StateALPN, "a"), value(filter.StateALPN, "b")}, []string{"b"}, ""},
		{"none", nil, nil, "on_request_headers"},
		{"dynamic", []*commonv3.FilterStateValue{value(filter.StateALPN, "%PROTOCOL%")}, []string{"HTTP/2"}, ""},
		{"no protocol", []*commonv3.FilterStateValue{value(filter.StateALPN, "a,,b")}, nil, ""},
		{"of somebody else", []*commonv3.FilterStateValue{other}, nil, ""},
		{"no factory", []*commonv3.FilterStateValue{value("own.key", "x")}, nil, "object_key"},
		{"unknown factory", []*commonv3.FilterStateValue{bad}, nil, "factory_key"},
		{"unknown command", []*commonv3.FilterStateValue{value(filter.StateALPN, "%NOTHING%")}, nil, "format_string"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := anypb.New(&statev3.Config{OnRequestHeaders: tc.values})
			if err != nil {
				t.Fatal(err)
			}
			f, err := Kind(format.Options{}).Parse(&filter.ParseContext{}, a)
			if tc.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fails) {
					t.Fatalf("error %v, want one that names %s", err, tc.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := &fakeStream{info: filter.Info{Protocol: "HTTP/2"}}
			if v := f.New(s).RequestHeaders(s, nil, true); v != filter.Continue {
				t.Errorf("verdict %v", v)
			}
			if diff := cmp.Diff(tc.want, s.info.UpstreamALPN); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestObjects: what is set is there, and shared objects go on as far as they are to.
func TestObjects(t *testing.T) {
	v := value("k", "%REQ(X-A)%")
	v.FactoryKey, v.SharedWithUpstream = "envoy.string", commonv3.FilterStateValue_ONCE
	w := value("w", "always")
	w.FactoryKey, w.SharedWithUpstream = "envoy.string", commonv3.FilterStateValue_TRANSITIVE
	a, err := anypb.New(&statev3.Config{OnRequestHeaders: []*commonv3.FilterStateValue{v, w}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Kind(format.Options{}).Parse(&filter.ParseContext{}, a)
	if err != nil {
		t.Fatal(err)
	}
	h := &filter.Headers{}
	h.Set("x-a", "1")
	s := &fakeStream{info: filter.Info{Request: h}}
	f.New(s).RequestHeaders(s, h, true)
	if got := s.info.Text("k") + s.info.Text("w"); got != "1always" {
		t.Errorf("objects %q", got)
	}
	var next, last filter.ConnInfo
	next.Inherit(s.info.AllShared())
	last.Inherit(next.Shared)
	if next.Text("k") != "1" || last.Text("k") != "" || last.Text("w") != "always" {
		t.Errorf("shared: %v, then %v", next.Objects, last.Objects)
	}
}
