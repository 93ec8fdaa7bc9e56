package ondemand

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/wire"
)

// scoped takes routes by scopes that come over ADS.
const scoped = `scoped_routes:
        name: s
        scope_key_builder: {fragments: [{header_value_extractor: {name: x-scope, index: 0}}]}
        rds_config_source: {ads: {}, resource_api_version: V3}
        scoped_rds: {scoped_rds_config_source: {ads: {}, resource_api_version: V3}}`

// scope sets a scope; more says where its routes are.
func (w *world) scope(name, key, more string) {
	w.Set(wire.TypeScope, name, message(w.t, fmt.Sprintf("{name: %s, key: {fragments: [{string_key: %q}]}, %s}", name, key, more),
		&routev3.ScopedRouteConfiguration{}))
}

// answering are routes that answer with a text.
func answering(name, text string) string {
	return fmt.Sprintf("{name: %s, virtual_hosts: [{name: v, domains: [\"*\"], routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: %s}}}]}]}", name, text)
}

func (w *world) routes(name, text string) {
	w.Set(wire.TypeRoute, name, message(w.t, answering(name, text), &routev3.RouteConfiguration{}))
}

// until asks until the answer is as wanted: what the control plane sent takes effect some time.
func (w *world) until(want, host, path string, header ...string) {
	w.t.Helper()
	got := ""
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = w.get(host, path, header...); got == want {
			w.say("%s", got)
			return
		}
	}
	w.say("%s, not %s", got, want)
}

func (w *world) adminGet(path string) string {
	w.t.Helper()
	resp, err := http.Get("http://" + w.admin + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// sayStats notes the statistics whose names match.
func (w *world) sayStats(filter string) {
	w.t.Helper()
	lines := strings.Split(strings.TrimSpace(w.adminGet("/stats?filter="+url.QueryEscape(filter))), "\n")
	slices.Sort(lines)
	for _, l := range lines {
		w.say("%s", l)
	}
}

// sayScopes notes what the configuration dump has of scopes.
func (w *world) sayScopes() {
	w.t.Helper()
	var dump struct {
		Configs []struct {
			Type   string `json:"@type"`
			Inline []struct {
				Name   string           `json:"name"`
				Scopes []map[string]any `json:"scoped_route_configs"`
			} `json:"inline_scoped_route_configs"`
			Dynamic []struct {
				Name   string           `json:"name"`
				Scopes []map[string]any `json:"scoped_route_configs"`
			} `json:"dynamic_scoped_route_configs"`
		} `json:"configs"`
	}
	if err := json.Unmarshal([]byte(w.adminGet("/config_dump")), &dump); err != nil {
		w.t.Fatal(err)
	}
	for _, c := range dump.Configs {
		if !strings.HasSuffix(c.Type, ".ScopedRoutesConfigDump") {
			continue
		}
		for _, d := range append(c.Inline, c.Dynamic...) {
			var all []string
			for _, s := range d.Scopes {
				b, err := json.Marshal(s)
				if err != nil {
					w.t.Fatal(err)
				}
				all = append(all, string(b))
			}
			slices.Sort(all)
			w.say("scopes %s: %s", d.Name, strings.Join(all, " "))
		}
	}
}

const scopeStats = `^http\.x\.scoped_rds\.s\.(all_scopes|on_demand_scopes|active_scopes|update_rejected)$`

// TestScopes: scopes with routes by name and inline, that come, change and go.
func TestScopes(t *testing.T) {
	both(t, func(w *world) {
		w.listener(scoped, "")
		w.routes("r1", "one")
		w.routes("r2", "two")
		w.scope("s1", "1", "route_configuration_name: r1")
		w.scope("s2", "2", "route_configuration_name: r2")
		w.scope("s3", "3", "route_configuration: "+answering("own", "inline"))
		w.listen()
		w.start()
		w.until("200 one", "a", "/", "x-scope", "1")
		w.say("%s", w.get("a", "/", "x-scope", "2"))
		w.say("%s", w.get("a", "/", "x-scope", "3"))
		w.say("%s", w.get("a", "/", "x-scope", "4"))
		w.say("%s", w.get("a", "/"))
		w.sayStats(scopeStats)
		w.sayScopes()
		w.routes("r1", "uno")
		w.until("200 uno", "a", "/", "x-scope", "1")
		w.scope("s2", "2", "route_configuration_name: r1")
		w.until("200 uno", "a", "/", "x-scope", "2")
		w.scope("s3", "3", "route_configuration: "+answering("own", "other"))
		w.until("200 other", "a", "/", "x-scope", "3")
		w.scope("s1", "9", "route_configuration_name: r1")
		w.until("200 uno", "a", "/", "x-scope", "9")
		w.say("%s", w.get("a", "/", "x-scope", "1"))
		w.Remove(wire.TypeScope, "s2")
		w.until("404 ", "a", "/", "x-scope", "2")
		w.sayStats(scopeStats)
		w.scope("s5", "9", "route_configuration_name: r1") // a key that there is
		w.Until(func(v xdstest.View) bool { return v.Nack(wire.TypeScope) != "" }, nil)
		w.say("%s", w.get("a", "/", "x-scope", "9"))
	},
		"200 one", "200 two", "200 inline", "404 ", "404 ",
		"http.x.scoped_rds.s.active_scopes: 2", "http.x.scoped_rds.s.all_scopes: 3",
		"http.x.scoped_rds.s.on_demand_scopes: 0", "http.x.scoped_rds.s.update_rejected: 0",
		`scopes s: {"@type":"type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration","key":{"fragments":[{"string_key":"1"}]},"name":"s1","route_configuration_name":"r1"} `+
			`{"@type":"type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration","key":{"fragments":[{"string_key":"2"}]},"name":"s2","route_configuration_name":"r2"} `+
			`{"@type":"type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration","key":{"fragments":[{"string_key":"3"}]},"name":"s3","route_configuration":{"name":"own","virtual_hosts":[{"domains":["*"],"name":"v","routes":[{"direct_response":{"body":{"inline_string":"inline"},"status":200},"match":{"prefix":"/"}}]}]}}`,
		"200 uno", "200 uno", "200 other", "200 uno", "404 ", "404 ",
		"http.x.scoped_rds.s.active_scopes: 1", "http.x.scoped_rds.s.all_scopes: 2",
		"http.x.scoped_rds.s.on_demand_scopes: 0", "http.x.scoped_rds.s.update_rejected: 0",
		"200 uno",
	)
}

// TestScopesOnDemand: the routes of such a scope are asked for by the first request.
func TestScopesOnDemand(t *testing.T) {
	both(t, func(w *world) {
		w.listener(scoped, hostsOnly)
		w.routes("r1", "one")
		w.SetLazy(wire.TypeRoute, "r2", message(w.t, answering("r2", "two"), &routev3.RouteConfiguration{}), xdstest.Lazy{})
		w.scope("s1", "1", "route_configuration_name: r1")
		w.scope("s2", "2", "on_demand: true, route_configuration_name: r2")
		w.listen()
		w.start()
		w.until("200 one", "a", "/", "x-scope", "1")
		w.say("routes %v", w.asked(wire.TypeRoute))
		w.sayStats(scopeStats)
		w.say("%s", w.get("a", "/", "x-scope", "2"))
		w.say("%s", w.get("a", "/", "x-scope", "2"))
		w.say("%s", w.get("a", "/", "x-scope", "3"))
		w.say("routes %v", w.asked(wire.TypeRoute))
		w.sayStats(scopeStats)
	},
		"200 one", "routes [r1]",
		"http.x.scoped_rds.s.active_scopes: 1", "http.x.scoped_rds.s.all_scopes: 2",
		"http.x.scoped_rds.s.on_demand_scopes: 1", "http.x.scoped_rds.s.update_rejected: 0",
		"200 two", "200 two", "404 ", "routes [r1 r2]",
		"http.x.scoped_rds.s.active_scopes: 2", "http.x.scoped_rds.s.all_scopes: 2",
		"http.x.scoped_rds.s.on_demand_scopes: 1", "http.x.scoped_rds.s.update_rejected: 0",
	)
}

// TestScopesOnDemandWithoutFilter: nobody asks.
func TestScopesOnDemandWithoutFilter(t *testing.T) {
	both(t, func(w *world) {
		w.listener(scoped, "")
		w.routes("r1", "one")
		w.routes("r2", "two")
		w.scope("s1", "1", "route_configuration_name: r1")
		w.scope("s2", "2", "on_demand: true, route_configuration_name: r2")
		w.listen()
		w.start()
		w.until("200 one", "a", "/", "x-scope", "1")
		w.say("%s", w.get("a", "/", "x-scope", "2"))
		w.say("routes %v", w.asked(wire.TypeRoute))
	}, "200 one", "404 ", "routes [r1]")
}
