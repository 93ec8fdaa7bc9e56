package proxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLocalReplies(t *testing.T) {
	s := &static{
		routes: "- {match: {path: /418}, direct_response: {status: 418, body: {inline_string: tea}}}\n- {match: {path: /503}, direct_response: {status: 503, body: {inline_string: old}}}\n" +
			"- {match: {path: /500}, direct_response: {status: 500, body: {inline_string: old}}}\n",
		manager: `local_reply_config:
  body_format: {text_format_source: {inline_string: "%RESPONSE_CODE% %LOCAL_REPLY_BODY% at %REQ(:PATH)%"}, content_type: "text/html"}
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 503, runtime_key: a}}}}
    status_code: 429
    body: {inline_string: new}
    headers_to_add: [{header: {key: x-added, value: "for %RESPONSE_CODE%"}}]
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 500, runtime_key: b}}}}
    body_format_override: {json_format: {code: "%RESPONSE_CODE%", body: "%LOCAL_REPLY_BODY%"}}
`,
	}
	s.engines(t, func(t *testing.T, p served) {
		for path, want := range map[string][3]string{
			"/418":  {"418 418 tea at /418", "text/html", ""},
			"/503":  {"429 429 new at /503", "text/html", "for 503"},
			"/500":  {`500 {"body":"old","code":500}`, "application/json", ""},
			"/none": {"404 404  at /none", "text/html", ""},
		} {
			got, h := p.ask(t, "GET", path)
			if d := cmp.Diff(want, [3]string{strings.TrimSuffix(got, "\n"), h.Get("content-type"), h.Get("x-added")}); d != "" {
				t.Errorf("%s: %s", path, d)
			}
		}
	})
}

func TestOriginalAddress(t *testing.T) {
	extension := func(kind, config string) string {
		return `original_ip_detection_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.http.original_ip_detection.` + kind + `, ` + config + "}}]\n"
	}
	for name, c := range map[string]struct {
		manager string
		head    []string
		want    string
	}{
		"xff hops":        {extension("xff.v3.XffConfig", "xff_num_trusted_hops: 1"), []string{"x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3"}, "2.2.2.2:0"},
		"xff cidrs":       {extension("xff.v3.XffConfig", "xff_trusted_cidrs: {cidrs: [{address_prefix: 127.0.0.0, prefix_len: 8}, {address_prefix: 3.0.0.0, prefix_len: 8}]}"), []string{"x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3"}, "2.2.2.2:0"},
		"header":          {extension("custom_header.v3.CustomHeaderConfig", "header_name: x-real"), []string{"x-real: 9.9.9.9"}, "9.9.9.9:0"},
		"header rejected": {extension("custom_header.v3.CustomHeaderConfig", "header_name: x-real, reject_with_status: {code: Unauthorized}"), nil, "401"},
		"port and scheme": {"append_x_forwarded_port: true\nscheme_header_transformation: {scheme_to_overwrite: https}\n", []string{"x-forwarded-for: 8.8.8.8"}, "8.8.8.8:0 https https"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &static{manager: c.manager, routes: `- {match: {prefix: /}, response_headers_to_add: [{header: {key: x-from, value: "%DOWNSTREAM_REMOTE_ADDRESS%"}}, {header: {key: x-scheme, value: "%REQ(:SCHEME)% %REQ(X-FORWARDED-PROTO)%"}}, {header: {key: x-port, value: "%REQ(X-FORWARDED-PORT)%"}}], direct_response: {status: 200}}` + "\n"}
			s.engines(t, func(t *testing.T, p served) {
				got, h := p.ask(t, "GET", "/", c.head...)
				seen := h.Get("x-from")
				if strings.HasPrefix(got, "401") {
					seen = "401"
				}
				if strings.Contains(c.manager, "scheme") {
					seen += " " + h.Get("x-scheme")
					if _, port, _ := strings.Cut(p.addr, ":"); h.Get("x-port") != port {
						t.Errorf("x-forwarded-port %q, want %q", h.Get("x-port"), port)
					}
				}
				if seen != c.want {
					t.Errorf("got %q (%s), want %q", seen, got, c.want)
				}
			})
		})
	}
}
