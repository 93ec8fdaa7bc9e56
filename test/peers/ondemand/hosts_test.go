package ondemand

import (
	"testing"

	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/wire"
)

const toA = `routes: [{match: {prefix: /}, route: {cluster: a}}]`

// TestHostOnDemand: a request for an unknown authority waits for its virtual host,
// which brings cluster and endpoints along.
func TestHostOnDemand(t *testing.T) {
	both(t, func(w *world) {
		w.listener(rds, onDemand)
		w.vhds("")
		w.cluster("a")
		w.host("r/a.example:8080", `domains: ["a.example:8080", a], `+toA, xdstest.Lazy{Aliases: []string{"r/a"}, With: bundle("a").With})
		w.listen()
		w.start()
		w.say("%s", w.get("a", "/cold"))
		w.say("%s", w.get("a", "/warm"))
		w.say("%s", w.get("A", "/capitals"))
		w.say("%s", w.get("a.example:8080", "/canonical"))
		w.say("hosts %v", w.asked(wire.TypeVirtualHost))
		w.say("%s", w.get("unknown", "/"))
		w.say("hosts %v", w.asked(wire.TypeVirtualHost))
	},
		"200 GET a /cold 0",
		"200 GET a /warm 0",
		"200 GET A /capitals 0",
		"200 GET a.example:8080 /canonical 0",
		"hosts [* r/a]",
		"404 ",
		"hosts [* r/a r/unknown]",
	)
}

// TestClusterAfterHost: the cluster is asked for when the route names it, then
// its endpoints; weighted, by header, and one that does not exist.
func TestClusterAfterHost(t *testing.T) {
	both(t, func(w *world) {
		w.listener(rds, onDemand)
		w.vhds("")
		for _, c := range []string{"a", "b", "c"} {
			w.cluster(c)
		}
		w.host("r/a", `domains: [a], `+toA, xdstest.Lazy{})
		w.host("r/b", `domains: [b], routes: [{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: b, weight: 1}]}}}]`, xdstest.Lazy{})
		w.host("r/h", `domains: [h], routes: [{match: {prefix: /}, route: {cluster_header: x-to}}]`, xdstest.Lazy{})
		w.host("r/nowhere", `domains: [nowhere], routes: [{match: {prefix: /}, route: {cluster: none, cluster_not_found_response_code: NOT_FOUND}}]`, xdstest.Lazy{})
		w.listen()
		w.start()
		w.say("%s", w.get("a", "/"))
		w.say("%s", w.get("b", "/"))
		w.say("%s", w.get("h", "/", "x-to", "c"))
		w.say("%s", w.get("h", "/", "x-to", "none"))
		w.say("%s", w.get("nowhere", "/"))
		w.say("clusters %v", w.asked(wire.TypeCluster))
		w.say("endpoints %v", w.asked(wire.TypeEndpoint))
	},
		"200 GET a / 0",
		"200 GET b / 0",
		"200 GET h / 0",
		"503 ",
		"404 ",
		"clusters [* a b c none]",
		"endpoints [a b c]",
	)
}

// TestBodyWaits: what follows the head of a cold request is held back and sent on.
func TestBodyWaits(t *testing.T) {
	const size = 20 << 20
	both(t, func(w *world) {
		w.listener(rds, onDemand)
		w.vhds("")
		w.cluster("a")
		w.host("r/a", `domains: [a], `+toA, bundle("a"))
		w.listen()
		w.start()
		w.say("%s", w.do("POST", "a", "/big", size))
	}, "200 POST a /big 20971520")
}

// TestManyWaitersOneRequest: parallel cold requests for a name make one subscription.
func TestManyWaitersOneRequest(t *testing.T) {
	both(t, func(w *world) {
		w.listener(rds, onDemand)
		w.vhds("")
		w.cluster("a")
		w.host("r/a", `domains: [a], `+toA, bundle("a"))
		w.listen()
		w.start()
		answers := make(chan string, 20)
		for range cap(answers) {
			go func() { answers <- w.get("a", "/") }()
		}
		seen := map[string]int{}
		for range cap(answers) {
			seen[<-answers]++
		}
		w.say("%v, hosts %v, clusters %v", seen, w.asked(wire.TypeVirtualHost), w.asked(wire.TypeCluster))
	}, "map[200 GET a / 0:20], hosts [* r/a], clusters [*]")
}
