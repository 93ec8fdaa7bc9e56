package ondemand

import (
	"testing"

	"github.com/weftmesh/weft/proxy/xds/xdstest"
)

// mutation is header_mutation, which adds a word to x-seen of requests.
func mutation(name, word, more string) string {
	return `
      - {name: ` + name + more + `, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, mutations: {request_mutations: [` + adds(word) + `]}}}`
}

func adds(word string) string {
	return `{append: {header: {key: x-seen, value: ` + word + `}, append_action: APPEND_IF_EXISTS_OR_ADD}}`
}

const (
	mutationRoute = `{"@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute, mutations: {request_mutations: [`
	faultFilter   = `
      - {name: fault, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}`
	faultRoute = `{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, abort: {http_status: 418, percentage: {numerator: 100}}}`
)

// TestFiltersOfLateHost: what a virtual host and its routes say about filters
// holds for the request that brought them, with and without a body, and after.
func TestFiltersOfLateHost(t *testing.T) {
	both(t, func(w *world) {
		w.listener(rds, onDemand+faultFilter+mutation("m", "listener", ""))
		w.vhds("")
		w.cluster("a")
		w.host("r/fault", `domains: [fault], `+toA+`, typed_per_filter_config: {fault: `+faultRoute+`}`, bundle("a"))
		w.host("r/fault2", `domains: [fault2], `+toA+`, typed_per_filter_config: {fault: `+faultRoute+`}`, bundle("a"))
		w.host("r/host", `domains: [host], `+toA+`, typed_per_filter_config: {m: `+mutationRoute+adds("host")+`]}}}`, bundle("a"))
		w.host("r/route", `domains: [route], typed_per_filter_config: {m: `+mutationRoute+adds("host")+`]}}}, routes: [{match: {prefix: /}, route: {cluster: a}, typed_per_filter_config: {m: `+mutationRoute+adds("route")+`]}}}}]`, bundle("a"))
		w.listen()
		w.start()
		for _, host := range []string{"fault", "host", "route"} {
			w.say("%s", w.get(host, "/"))
			w.say("%s", w.get(host, "/"))
		}
		w.say("%s", w.do("POST", "fault2", "/", 1000))
		w.say("%s", w.do("POST", "fault2", "/", 1000))
	},
		"418 fault filter abort", "418 fault filter abort",
		"200 GET host / 0 [listener host]", "200 GET host / 0 [listener host]",
		"200 GET route / 0 [listener route host]", "200 GET route / 0 [listener route host]",
		"418 fault filter abort", "418 fault filter abort",
	)
}

// TestFiltersSwitchedByLateHost: the first request passes the filters that its
// route switches on, and not those that it switches off. Envoy has made its chain
// before the route came, so that the first request goes past a filter (which may
// be authorization) that all others meet: that is not followed.
func TestFiltersSwitchedByLateHost(t *testing.T) {
	theirs, ours := run(t, func(w *world) {
		w.listener(rds, onDemand+mutation("m", "listener", "")+mutation("extra", "optional", ", disabled: true"))
		w.vhds("")
		w.cluster("a")
		w.host("r/without", `domains: [without], `+toA+`, typed_per_filter_config: {m: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}`, bundle("a"))
		w.host("r/with", `domains: [with], `+toA+`, typed_per_filter_config: {extra: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}`, bundle("a"))
		w.listen()
		w.start()
		for _, host := range []string{"without", "with"} {
			w.say("%s", w.get(host, "/"))
			w.say("%s", w.do("POST", host, "/", 1000))
		}
	})
	const want = `200 GET without / 0
200 POST without / 1000
200 GET with / 0 [listener optional]
200 POST with / 1000 [listener optional]`
	const envoys = `200 GET without / 0 [listener]
200 POST without / 1000
200 GET with / 0 [listener]
200 POST with / 1000 [listener optional]`
	if ours != want || theirs != envoys {
		t.Errorf("Envoy:\n%s\nwant:\n%s\nWeft:\n%s\nwant:\n%s", theirs, envoys, ours, want)
	}
}

// TestFiltersBeforeOnDemand: filters in front of on_demand.
func TestFiltersBeforeOnDemand(t *testing.T) {
	both(t, func(w *world) {
		w.listener(rds, mutation("m", "listener", "")[7:]+"\n      "+onDemand)
		w.vhds("")
		w.cluster("a")
		w.host("r/host", `domains: [host], `+toA+`, typed_per_filter_config: {m: `+mutationRoute+adds("host")+`]}}}`, bundle("a"))
		w.host("r/post", `domains: [post], `+toA+`, typed_per_filter_config: {m: `+mutationRoute+adds("host")+`]}}}`, bundle("a"))
		w.host("r/without", `domains: [without], `+toA+`, typed_per_filter_config: {m: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}`, bundle("a"))
		w.host("r/lazy", `domains: [lazy], `+toA+`, typed_per_filter_config: {m: `+mutationRoute+adds("host")+`]}}}`, xdstest.Lazy{})
		w.listen()
		w.start()
		for _, host := range []string{"host", "without"} {
			w.say("%s", w.get(host, "/"))
			w.say("%s", w.get(host, "/"))
		}
		w.say("%s", w.do("POST", "post", "/", 1000))
		w.say("%s", w.do("POST", "post", "/", 1000))
	})
}
