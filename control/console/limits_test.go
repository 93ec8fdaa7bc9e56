package console

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
)

// TestStatusOfSmartLimiters: what is in force, in Slime's form, with the quotas that came out and the numbers that went in.
func TestStatusOfSmartLimiters(t *testing.T) {
	k := start(t)
	l := &model.SmartLimiter{Meta: head(model.KindSmartLimiter, "shop", "a"), Rules: []model.LimitRule{
		{Set: "_base", Condition: "{cpu}>0.8", Quota: "30/{pod}", Interval: 1500 * time.Millisecond, Strategy: model.LimitAverage, Headers: []model.LimitHeader{{Name: "why", Value: "busy"}}},
		{Set: "_base", Condition: "{cpu}>0.9", Quota: "1", Interval: time.Second},
		{Set: "_base", Concurrency: true, Condition: "true", Quota: "4", Strategy: model.LimitSingle, Target: model.LimitTarget{Port: 80}},
		{Set: "v1", Condition: "true", Quota: "7", Interval: time.Second, Strategy: model.LimitGlobal, Shadow: true, Per: "source", Key: "k", Value: "v", Matches: []model.LimitMatch{
			{Attr: model.LimitHeaderAttr, Name: "x", Op: model.LimitExact, Not: true},
			{Attr: model.LimitQueryAttr, Name: "q", Op: model.LimitRegex, Value: "a+"},
			{Attr: model.LimitSourceAttr, Op: model.LimitEach},
		}, Target: model.LimitTarget{Outbound: true, Hosts: []string{"b"}}},
	}}
	off := &model.SmartLimiter{Meta: head(model.KindSmartLimiter, "shop", "off")}
	x := &model.Limits{Meta: head(model.KindLimits, "shop", "a"), Limiter: l, Values: map[string]float64{"_base.cpu": 2.5 / 3, "_base.pod": 3}, Quotas: []model.LimitQuota{
		{Active: true, Quota: 10}, {Quota: 1}, {Active: true, Quota: 4}, {Active: true, Quota: 7},
	}}
	k.snapshots.Store(mesh(1, l, off, x))
	want := map[string]SlimeStatus{"off": {}, "a": {
		Metric: map[string]string{"_base.cpu": "0.8333333", "_base.pod": "3"},
		Limits: map[string]LimitSet{
			"_base": {Descriptor: []LimitDescriptor{
				{Condition: "{cpu}>0.8", Action: LimitAction{Quota: "10", Strategy: "average", Interval: &LimitInterval{Seconds: 1, Nanos: 5e8}, Headers: []LimitHeader{{"why", "busy"}}}},
				{Condition: "true", Action: LimitAction{Concurrency: "4", Strategy: "single"}, Target: &LimitTarget{Direction: "inbound", Port: 80}},
			}},
			"v1": {Descriptor: []LimitDescriptor{{
				Condition: "true", Action: LimitAction{Quota: "7", Strategy: "global", Interval: &LimitInterval{Seconds: 1}, Shadow: true, Per: "source"},
				CustomKey: "k", Custom: "v", Target: &LimitTarget{Direction: "outbound", Host: []string{"b"}},
				Match: []LimitTest{{Name: "x", Empty: true, Invert: true}, {Name: "q", Regex: "a+", Source: "QueryMatch"}, {Separate: true, Source: "SourceIpMatch"}},
			}}},
		},
	}}
	got := map[string]SlimeStatus{}
	for _, o := range get[[]ObjectSummary](k, "/v1/objects?status=true&kind=SmartLimiter") {
		got[o.Name] = o.Status.SlimeStatus
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
