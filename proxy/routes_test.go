package proxy_test

import "testing"

// direct answers with its name, so that tests see which route matched.
func direct(name, match string) string {
	return "- {match: {" + match + "}, direct_response: {status: 200, body: {inline_string: '" + name + "'}}}\n"
}

func TestRouteMatches(t *testing.T) {
	s := &static{
		boot: "layered_runtime: {layers: [{name: s, static_layer: {all: 100, none: {numerator: 0, denominator: HUNDRED}, much: 200}}]}\n",
		routes: direct("separated", "path_separated_prefix: /sep") +
			direct("template", `path_match_policy: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "/t/{one}/x/{two=**}"}}`) +
			direct("cookie", `path: /cookie, cookies: [{name: c, string_match: {prefix: a}}]`) +
			direct("nocookie", `path: /cookie, cookies: [{name: c, string_match: {prefix: a}, invert_match: true}]`) +
			direct("query", `path: /query, query_parameters: [{name: a, string_match: {exact: b}}]`) +
			direct("present", `path: /query, query_parameters: [{name: a, present_match: true}]`) +
			direct("absent", `path: /query, query_parameters: [{name: b, present_match: false}]`) +
			direct("empty", `path: /head, headers: [{name: x-a, string_match: {exact: ""}, treat_missing_header_as_empty: true}]`) +
			direct("not", `path: /head, headers: [{name: x-a, string_match: {exact: b}, invert_match: true}]`) +
			direct("range", `path: /head, headers: [{name: x-b, range_match: {start: -1, end: 3}}]`) +
			direct("suffix", `path: /head, headers: [{name: x-c, string_match: {suffix: Z, ignore_case: true}}]`) +
			direct("gone", `path: /head, headers: [{name: x-c, present_match: false}]`) +
			direct("off", `path: /run, runtime_fraction: {default_value: {numerator: 100}, runtime_key: none}`) +
			direct("much", `path: /much, runtime_fraction: {default_value: {numerator: 0}, runtime_key: much}`) +
			direct("on", `path: /run, runtime_fraction: {default_value: {numerator: 0}, runtime_key: all}`) +
			direct("metadata", `path: /meta, dynamic_metadata: [{filter: f, path: [{key: k}], value: {present_match: true}}]`) +
			direct("nometadata", `path: /meta, dynamic_metadata: [{filter: f, path: [{key: k}], value: {present_match: true}, invert: true}]`),
	}
	s.check(t,
		question{"/sep", nil, "200 separated"},
		question{"/sep/a?b", nil, "200 separated"},
		question{"/sepa", nil, "404"},
		question{"/t/1/x/a/b", nil, "200 template"},
		question{"/t/1/y/a/b", nil, "404"},
		question{"/t//x/a", nil, "404"},
		question{"/cookie", []string{"cookie: b=1; c=ab"}, "200 cookie"},
		question{"/cookie", []string{"cookie: c=b"}, "200 nocookie"},
		question{"/cookie", nil, "200 nocookie"},
		question{"/query?a=b", nil, "200 query"},
		question{"/query?a=c", nil, "200 present"},
		question{"/query", nil, "200 absent"},
		question{"/query?b=", nil, "404"},
		question{"/head", nil, "200 empty"},
		question{"/head", []string{"x-a: c"}, "200 not"},
		question{"/head", []string{"x-a: b", "x-b: -1"}, "200 range"},
		question{"/head", []string{"x-a: b", "x-b: 3", "x-c: az"}, "200 suffix"},
		question{"/head", []string{"x-a: b", "x-b: 3"}, "200 gone"},
		question{"/run", nil, "200 on"},
		question{"/much", nil, "200 much"},
		question{"/meta", nil, "200 nometadata"},
	)
}

func TestRouteActions(t *testing.T) {
	template := func(s string) string {
		return `match: {path_match_policy: {name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "` + s + `"}}}`
	}
	s := &static{
		clusters: map[string]string{"a": mirrorBackend(t, "a"), "b": mirrorBackend(t, "b")},
		boot:     "layered_runtime: {layers: [{name: s, static_layer: {w.a: 0, w.b: 100}}]}\n",
		routes: `- {` + template("/users/{id}/{rest=**}") + `, route: {cluster: a, path_rewrite_policy: {name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "/v2/{rest}/of-{id}"}}}}
- {match: {prefix: /regex}, route: {cluster: a, regex_rewrite: {pattern: {regex: "^/regex/([^/]+)"}, substitution: "/\\1/re"}}}
- {match: {path: /by-header}, route: {cluster_header: x-to, cluster_not_found_response_code: NOT_FOUND}}
- {match: {path: /luck}, route: {weighted_clusters: {header_name: x-luck, clusters: [{name: a, weight: 30}, {name: b, weight: 70}]}}}
- {match: {path: /runtime}, route: {weighted_clusters: {runtime_key_prefix: w, clusters: [{name: a, weight: 100}, {name: b, weight: 1}]}}}
- {match: {path: /named}, route: {weighted_clusters: {clusters: [{cluster_header: x-to, weight: 1, request_headers_to_add: [{header: {key: x-w, value: "1"}}]}]}}}
`,
	}
	s.check(t,
		question{"/users/7/a/b?q", nil, "200 a GET /v2/a/b/of-7?q x-envoy-original-path=/users/7/a/b?q"},
		question{"/regex/x/y?q", nil, "200 a GET /x/re/y?q x-envoy-original-path=/regex/x/y?q"},
		question{"/by-header", []string{"x-to: b"}, "200 b GET /by-header x-to=b"},
		question{"/by-header", []string{"x-to: c"}, "404"},
		question{"/luck", []string{"x-luck: 29"}, "200 a GET /luck x-luck=29"},
		question{"/luck", []string{"x-luck: 130"}, "200 b GET /luck x-luck=130"},
		question{"/runtime", nil, "200 b GET /runtime"},
		question{"/named", []string{"x-to: b"}, "200 b GET /named x-to=b x-w=1"},
	)
}
