package cli

import (
	"bytes"
	"testing"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
)

// TestWriteLimits: what is in force of a SmartLimiter is told, and put into the document in Slime's form.
func TestWriteLimits(t *testing.T) {
	status := &console.ObjectStatus{SlimeStatus: console.SlimeStatus{
		Metric: map[string]string{"_base.pod": "3"},
		Limits: map[string]console.LimitSet{
			"v1": {Descriptor: []console.LimitDescriptor{{Condition: "true", Action: console.LimitAction{Concurrency: "4", Strategy: "single"}}}},
			"_base": {Descriptor: []console.LimitDescriptor{
				{Condition: "{cpu}>0.8", Action: console.LimitAction{Quota: "10", Strategy: "average", Interval: &console.LimitInterval{Seconds: 1, Nanos: 5e8}}},
				{Condition: "true", CustomKey: "k", Custom: "v", Match: make([]console.LimitTest, 2), Action: console.LimitAction{
					Quota: "7", Strategy: "global", Interval: &console.LimitInterval{Seconds: 60}, Per: "source", Shadow: true,
				}},
			}},
		},
	}}
	var out bytes.Buffer
	writeStatus(&out, &console.ObjectSummary{Key: model.Key{Kind: model.KindSmartLimiter, Namespace: "a", Name: "l"}, Source: "l.yaml:1", Status: status})
	const want = `SmartLimiter a/l  l.yaml:1
  limit _base: 10 in 1.5s, average (when {cpu}>0.8)
  limit _base: 7 in 1m0s, global, for each source, counted only, of requests that pass 2 tests, of k=v (when true)
  limit v1: 4 at a time (when true)
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
	status.Limits = nil
	text, err := withStatus("kind: SmartLimiter", ownStatus(status))
	if want := "kind: SmartLimiter\nstatus:\n  metricStatus:\n    _base.pod: \"3\"\n"; err != nil || text != want {
		t.Errorf("%v:\n%s\nwant:\n%s", err, text, want)
	}
	if s := ownStatus(&console.ObjectStatus{}); s != nil {
		t.Errorf("a kind without a status of its own has %v", s)
	}
}
