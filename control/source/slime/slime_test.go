package slime_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/file"
)

// known is what people know from talks, word for word.
const known = `apiVersion: microservice.netease.com/v1alpha1
kind: SmartLimiter
metadata: {name: a, namespace: default}
spec:
  descriptors:
  - action:
      fill_interval:
        seconds: 1
      quota: "30/{pod}"
    condition: "{cpu}>0.8"
`

func read(t *testing.T, text string) *model.SmartLimiter {
	t.Helper()
	objects, findings := file.Decode([]byte(text), "a.yaml")
	if len(objects) != 1 || len(findings) != 0 {
		t.Fatalf("%d objects, findings %v", len(objects), findings)
	}
	return objects[0].(*model.SmartLimiter)
}

func TestKnownWordForWord(t *testing.T) {
	l := read(t, known)
	want := []model.LimitRule{{
		Field: "spec.descriptors[0]", Set: "_base", Condition: "{cpu}>0.8", Quota: "30/{pod}", Interval: time.Second, Strategy: model.LimitSingle,
	}}
	if d := cmp.Diff(want, l.Rules); d != "" {
		t.Error(d)
	}
	if l.Service != "a.default.svc.cluster.local" {
		t.Error(l.Service)
	}
}

func TestDocumented(t *testing.T) {
	l := read(t, `apiVersion: microservice.slime.io/v1alpha2
kind: SmartLimiter
metadata: {name: reviews, namespace: default}
spec:
  sets:
    _base:
      descriptor:
      - condition: "true"
        action: {fill_interval: {seconds: 60}, quota: "100/{{._base.pod}}", strategy: average, headers_to_add: [{key: why, value: limited}]}
        match: [{name: Foo, exact_match: bar}]
        target: {port: 9080}
    v1:
      descriptor:
      - condition: "{{.v1.cpu.max}}>3"
        action: {fill_interval: {nanos: 500000000}, quota: "10", strategy: global}
        match:
        - {name: a, present_match_separate: true}
        - {name: q, matchSource: QueryMatch, regex_match: "x.*", invert_match: true}
        - {matchSource: 3, exact_match: "10.0.0.1, 10.1.0.0/16"}
        - {name: e, is_exact_match_empty: true}
`)
	header := func(name string, op model.LimitOp, value string) model.LimitMatch {
		return model.LimitMatch{Attr: model.LimitHeaderAttr, Name: name, Op: op, Value: value}
	}
	v1 := func(ip string) model.LimitRule {
		return model.LimitRule{
			Field: "spec.sets.v1.descriptor[0]", Set: "v1", Condition: "{{.v1.cpu.max}}>3", Quota: "10", Interval: 500 * time.Millisecond, Strategy: model.LimitGlobal,
			Matches: []model.LimitMatch{
				header("a", model.LimitEach, ""),
				{Attr: model.LimitQueryAttr, Name: "q", Op: model.LimitRegex, Value: "x.*", Not: true},
				{Attr: model.LimitSourceAttr, Op: model.LimitExact, Value: ip},
				header("e", model.LimitExact, ""),
			},
		}
	}
	want := []model.LimitRule{
		{
			Field: "spec.sets._base.descriptor[0]", Set: "_base", Condition: "true", Quota: "100/{{._base.pod}}", Interval: time.Minute, Strategy: model.LimitAverage,
			Headers: []model.LimitHeader{{Name: "why", Value: "limited"}}, Matches: []model.LimitMatch{header("foo", model.LimitExact, "bar")}, Target: model.LimitTarget{Port: 9080},
		},
		v1("10.0.0.1"), v1("10.1.0.0/16"),
	}
	if d := cmp.Diff(want, l.Rules); d != "" {
		t.Error(d)
	}
	l = read(t, `apiVersion: microservice.slime.io/v1alpha1
kind: SmartLimiter
metadata: {name: gw, namespace: default}
spec:
  gateway: true
  workloadSelector: {gw_cluster: prod-gateway}
  sets: {_base: {descriptor: [{condition: "true", action: {fill_interval: {seconds: 60}, quota: "2", strategy: single}, target: {direction: outbound, port: 80, host: [b.test.com]}}]}}
`)
	if !l.Gateway || l.Service != "" || !cmp.Equal(l.Rules[0].Target, model.LimitTarget{Outbound: true, Port: 80, Hosts: []string{"b.test.com"}}) {
		t.Errorf("%+v", l)
	}
}

func TestFaults(t *testing.T) {
	for descriptor, want := range map[string]string{
		`{action: {quota: "1"}}`:                                                                                            "spec.descriptors[0].action.fill_interval: is missing",
		`{action: {fill_interval: {seconds: 1}}}`:                                                                           "spec.descriptors[0].action.quota: is missing",
		`{action: {quota: "1/", fill_interval: {seconds: 1}}}`:                                                              "spec.descriptors[0].action.quota",
		`{action: {quota: "{cpu}>1", fill_interval: {seconds: 1}}}`:                                                         "is a condition, not a number",
		`{action: {quota: -1, fill_interval: {seconds: 1}}}`:                                                                "is negative",
		`{condition: "{cpu", action: {quota: 1, fill_interval: {seconds: 1}}}`:                                              "is not closed",
		`{action: {quota: 1, fill_interval: {nanos: 1}}}`:                                                                   "at least 50ms",
		`{action: {quota: 1, strategy: globl, fill_interval: {seconds: 1}}}`:                                                "must be one of single, average, global",
		`{action: {quota: 1, fill_interval: {seconds: 1}}, match: [{name: a}]}`:                                             "says nothing about the value",
		`{action: {quota: 1, fill_interval: {seconds: 1}}, match: [{name: a, exact_match: a, prefix_match: b}]}`:            "more than one way",
		`{action: {quota: 1, fill_interval: {seconds: 1}}, match: [{name: a, exact_match: a, matchSource: JsonBodyMatch}]}`: "bodies are not looked into",
		`{action: {quota: 1, fill_interval: {seconds: 1}}, match: [{exact_match: "1.2.3", matchSource: 3}]}`:                "neither an address nor a prefix",
		`{action: {quota: 1, fill_interval: {seconds: 1}}, target: {direction: sideways}}`:                                  "must be inbound or outbound",
		`{action: {quota: 1, fill_interval: {seconds: 1}}, target: {route: [a]}}`:                                           "names no route",
		`{action: {quota: 1, fill_interval: {seconds: 1}}, custom_key: a}`:                                                  "one of custom_key and custom_value",
		`{action: {quota: 1, fill_interval: {seconds: 1}, per: ip}}`:                                                        "names no client",
		`{action: {quota: 1, fil_interval: {seconds: 1}}}`:                                                                  "fill_interval",
	} {
		objects, findings := file.Decode([]byte("apiVersion: microservice.slime.io/v1alpha2\nkind: SmartLimiter\nmetadata: {name: a}\nspec:\n  descriptors:\n  - "+descriptor+"\n"), "a.yaml")
		if said := fmt.Sprint(findings); len(objects) != 0 || !strings.Contains(said, want) {
			t.Errorf("%s: %d objects, %s; want %q", descriptor, len(objects), said, want)
		}
	}
}

// TestCustomKeyAlone: what is written beside a custom_key and has no effect is said so.
func TestCustomKeyAlone(t *testing.T) {
	for more, want := range map[string]int{"": 0, ", match: [{name: a, exact_match: b}]": 1, ", target: {port: 80}": 1} {
		_, findings := file.Decode([]byte("apiVersion: microservice.slime.io/v1alpha2\nkind: SmartLimiter\nmetadata: {name: a}\nspec:\n  descriptors:\n"+
			"  - {action: {quota: 1, fill_interval: {seconds: 1}}, custom_key: a, custom_value: b"+more+"}\n"), "a.yaml")
		if len(findings) != want || want > 0 && (findings[0].Field != "spec.descriptors[0].custom_key" || findings[0].Severity != model.Warning) {
			t.Errorf("%q: %v, want %d findings", more, findings, want)
		}
	}
}
