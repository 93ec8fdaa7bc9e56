package console

import (
	"strconv"
	"time"

	"github.com/weftmesh/weft/control/model"
)

// LimitSet is the limits of a set of a SmartLimiter that are in force.
type LimitSet struct {
	Descriptor []LimitDescriptor `json:"descriptor"`
}

// LimitDescriptor is a limit in Slime's form, with its quota computed. One that is written for several addresses is
// several, as they are counted.
type LimitDescriptor struct {
	Condition string       `json:"condition,omitempty"`
	Action    LimitAction  `json:"action"`
	Match     []LimitTest  `json:"match,omitempty"`
	Target    *LimitTarget `json:"target,omitempty"`
	CustomKey string       `json:"custom_key,omitempty"`
	Custom    string       `json:"custom_value,omitempty"`
}

// LimitAction is what a limit allows: Quota requests in an Interval, or Concurrency requests at a time.
type LimitAction struct {
	Quota       string         `json:"quota,omitempty"`
	Concurrency string         `json:"concurrency,omitempty"`
	Interval    *LimitInterval `json:"fill_interval,omitempty"`
	Strategy    string         `json:"strategy"`
	Shadow      bool           `json:"shadow,omitempty"`
	Per         string         `json:"per,omitempty"`
	Headers     []LimitHeader  `json:"headers_to_add,omitempty"`
}

// LimitInterval is a time, in whole seconds and nanoseconds beside.
type LimitInterval struct {
	Seconds int64 `json:"seconds,omitempty"`
	Nanos   int64 `json:"nanos,omitempty"`
}

// LimitHeader is one that refusals get.
type LimitHeader struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
}

// LimitTest is one test of a request; one of its ways to match is set.
type LimitTest struct {
	Name     string `json:"name,omitempty"`
	Exact    string `json:"exact_match,omitempty"`
	Empty    bool   `json:"is_exact_match_empty,omitempty"`
	Prefix   string `json:"prefix_match,omitempty"`
	Suffix   string `json:"suffix_match,omitempty"`
	Regex    string `json:"regex_match,omitempty"`
	Present  bool   `json:"present_match,omitempty"`
	Separate bool   `json:"present_match_separate,omitempty"`
	Invert   bool   `json:"invert_match,omitempty"`
	// Source is Slime's name of what is looked at; "": a header.
	Source string `json:"matchSource,omitempty"`
}

// LimitTarget says where a limit holds.
type LimitTarget struct {
	Direction string   `json:"direction"`
	Port      uint16   `json:"port,omitempty"`
	Host      []string `json:"host,omitempty"`
	Route     []string `json:"route,omitempty"`
}

// limiterStatus makes the status of a SmartLimiter; empty where nothing has evaluated it (its module is off).
func limiterStatus(s *model.Snapshot, l *model.SmartLimiter) SlimeStatus {
	key := model.Key{Kind: model.KindLimits, Namespace: l.Key.Namespace, Name: l.Key.Name}
	x, ok := s.Objects.Get(key).(*model.Limits)
	if !ok || x.Limiter == nil {
		return SlimeStatus{}
	}
	out := SlimeStatus{Limits: map[string]LimitSet{}, Metric: map[string]string{}}
	for i := range x.Quotas {
		if !x.Quotas[i].Active {
			continue
		}
		r := &x.Limiter.Rules[i] // of the version that was evaluated
		set := out.Limits[r.Set]
		set.Descriptor = append(set.Descriptor, descriptor(r, x.Quotas[i].Quota))
		out.Limits[r.Set] = set
	}
	for name, v := range x.Values {
		out.Metric[name] = number(v)
	}
	return out
}

// number is short and exact enough to read: 0.8333333.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 7, 64) }

func descriptor(r *model.LimitRule, quota float64) LimitDescriptor {
	a := LimitAction{Strategy: string(r.Strategy), Shadow: r.Shadow, Per: r.Per}
	if r.Concurrency {
		a.Concurrency = number(quota)
	} else {
		a.Quota = number(quota)
		a.Interval = &LimitInterval{Seconds: int64(r.Interval / time.Second), Nanos: int64(r.Interval % time.Second)}
	}
	for _, h := range r.Headers {
		a.Headers = append(a.Headers, LimitHeader{Key: h.Name, Value: h.Value})
	}
	out := LimitDescriptor{Condition: r.Condition, Action: a, CustomKey: r.Key, Custom: r.Value}
	for i := range r.Matches {
		out.Match = append(out.Match, limitTest(&r.Matches[i]))
	}
	t := LimitTarget{Direction: "inbound", Port: r.Target.Port, Host: r.Target.Hosts, Route: r.Target.Routes}
	if r.Target.Outbound {
		t.Direction = "outbound"
	}
	if r.Target.Outbound || t.Port != 0 || len(t.Host)+len(t.Route) > 0 {
		out.Target = &t
	}
	return out
}

func limitTest(m *model.LimitMatch) LimitTest {
	out := LimitTest{Name: m.Name, Invert: m.Not}
	switch m.Attr {
	case model.LimitQueryAttr:
		out.Source = "QueryMatch"
	case model.LimitSourceAttr:
		out.Source = "SourceIpMatch"
	case model.LimitHeaderAttr:
	}
	switch m.Op {
	case model.LimitExact:
		out.Exact, out.Empty = m.Value, m.Value == ""
	case model.LimitPrefix:
		out.Prefix = m.Value
	case model.LimitSuffix:
		out.Suffix = m.Value
	case model.LimitRegex:
		out.Regex = m.Value
	case model.LimitPresent:
		out.Present = true
	case model.LimitEach:
		out.Separate = true
	}
	return out
}
