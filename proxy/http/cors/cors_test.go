package cors

import (
	"strings"
	"testing"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const policy = `{"allowOriginStringMatch":[{"exact":"http://a"},{"suffix":".b"}],"allowMethods":"GET,PUT","allowHeaders":"x-a",` +
	`"exposeHeaders":"x-e","maxAge":"60","allowCredentials":true,"filterEnabled":{"defaultValue":{"numerator":100}}`

func parsed(t *testing.T, json string) (any, error) {
	t.Helper()
	m := &corsv3.CorsPolicy{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return Kind().ParseRoute(&filter.ParseContext{}, a)
}

func TestRequests(t *testing.T) {
	preflight := []string{":method", "OPTIONS", "access-control-request-method", "PUT"}
	for _, tt := range []struct {
		name, policy string
		request      []string
		reply        map[string]string // nil: none
		marked       map[string]string
	}{
		{name: "no origin", policy: policy + "}", request: nil},
		{name: "no policy", request: []string{"origin", "http://a"}},
		{name: "allowed", policy: policy + "}", request: []string{"origin", "http://x.b"}, marked: map[string]string{
			"access-control-allow-origin": "http://x.b", "access-control-allow-credentials": "true", "access-control-expose-headers": "x-e",
		}},
		{name: "not allowed", policy: policy + "}", request: []string{"origin", "http://c"}},
		{name: "options that is no preflight", policy: policy + "}", request: []string{"origin", "http://a", ":method", "OPTIONS"}, marked: map[string]string{
			"access-control-allow-origin": "http://a", "access-control-allow-credentials": "true", "access-control-expose-headers": "x-e",
		}},
		{name: "preflight", policy: policy + "}", request: append([]string{"origin", "http://a"}, preflight...), reply: map[string]string{
			"access-control-allow-origin": "http://a", "access-control-allow-credentials": "true", "access-control-allow-methods": "GET,PUT",
			"access-control-allow-headers": "x-a", "access-control-expose-headers": "x-e", "access-control-max-age": "60",
		}},
		{name: "private network", policy: `{"allowOriginStringMatch":[{"exact":"http://a"}],"allowPrivateNetworkAccess":true}`,
			request: append([]string{"origin", "http://a", "access-control-request-private-network", "true"}, preflight...),
			reply:   map[string]string{"access-control-allow-origin": "http://a", "access-control-allow-private-network": "true"}},
		{name: "preflight not allowed is forwarded", policy: policy + "}", request: append([]string{"origin", "http://c"}, preflight...)},
		{name: "preflight not allowed is answered", policy: policy + `,"forwardNotMatchingPreflights":false}`,
			request: append([]string{"origin", "http://c"}, preflight...), reply: map[string]string{}},
		{name: "switched off", policy: `{"allowOriginStringMatch":[{"exact":"http://a"}],"filterEnabled":{"defaultValue":{"numerator":0}}}`, request: []string{"origin", "http://a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := anypb.New(&corsv3.Cors{})
			if err != nil {
				t.Fatal(err)
			}
			factory, err := Kind().Parse(&filter.ParseContext{FilterName: "c"}, a)
			if err != nil {
				t.Fatal(err)
			}
			s := filtertest.New(tt.request...)
			if tt.policy != "" {
				p, err := parsed(t, tt.policy)
				if err != nil {
					t.Fatal(err)
				}
				s.Routes = map[string]any{"c": p}
			}
			f := factory.New(s)
			v := f.RequestHeaders(s, s.Req, true)
			if (v == filter.Reply) != (tt.reply != nil) {
				t.Fatalf("verdict %v", v)
			}
			if tt.reply != nil {
				got := map[string]string{}
				for _, h := range s.Replies[0].Header {
					got[h.Name] = h.Value
				}
				if d := cmp.Diff(tt.reply, got); d != "" {
					t.Error(d)
				}
				return
			}
			s.Resp = &filter.Headers{Status: 200}
			f.ResponseHeaders(s, s.Resp, true)
			var got map[string]string
			for i := range s.Resp.Len() {
				if got == nil {
					got = map[string]string{}
				}
				got[s.Resp.At(i).Name] = s.Resp.At(i).Value
			}
			if d := cmp.Diff(tt.marked, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for json, field := range map[string]string{
		`{"shadowEnabled":{"defaultValue":{"numerator":1}}}`:       "shadow_enabled",
		`{"allowOriginStringMatch":[{"safeRegex":{"regex":"("}}]}`: "allow_origin_string_match",
		`{"allowOriginStringMatch":[{"custom":{"name":"x"}}]}`:     "allow_origin_string_match[0].custom",
	} {
		if _, err := parsed(t, json); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want it to name %s", json, err, field)
		}
	}
}
