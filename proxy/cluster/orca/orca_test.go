package orca

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/proxy/filter"
)

func head(name, value string) *filter.Headers {
	h := &filter.Headers{}
	h.Add(name, value)
	return h
}

func encoded(t testing.TB) string {
	t.Helper()
	raw, err := proto.Marshal(&Report{RpsFractional: 100, CpuUtilization: 0.5, Eps: 2, NamedMetrics: map[string]float64{"a": 0.7}})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

func TestFromHeaders(t *testing.T) {
	bin := encoded(t)
	for name, h := range map[string]*filter.Headers{
		"gRPC":     head(HeaderBin, strings.TrimRight(bin, "=")),
		"padded":   head(HeaderBin, bin),
		"BIN":      head(Header, "BIN "+bin),
		"JSON":     head(Header, `JSON {"cpu_utilization": 0.5, "rps_fractional": 100, "eps": 2, "named_metrics": {"a": 0.7}}`),
		"TEXT":     head(Header, "TEXT cpu_utilization=0.5, rps_fractional:100,eps=2, named_metrics.a=0.7"),
		"exponent": head(Header, "TEXT cpu_utilization=5e-1,rps_fractional=1e2,eps=2,named_metrics.a=.7"),
	} {
		r, err := FromHeaders(h)
		if err != nil || r.RpsFractional != 100 || r.CpuUtilization != 0.5 || r.Eps != 2 || r.NamedMetrics["a"] != 0.7 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if r, err := FromHeaders(head("x", "y")); r != nil || err != nil {
		t.Errorf("without a report: %v, %v", r, err)
	}
	for _, h := range []*filter.Headers{
		head(HeaderBin, "?"), head(HeaderBin, "/////w"), head(Header, "BIN !"), head(Header, "cpu_utilization=1"), head(Header, "text cpu_utilization=1"),
		head(Header, "JSON {"), head(Header, `JSON {"x": 1}`), head(Header, "TEXT "), head(Header, "TEXT cpu_utilization"), head(Header, "TEXT =1"),
		head(Header, "TEXT cpu_utilization=x"), head(Header, "TEXT cpu_utilization=NaN"), head(Header, "TEXT cpu_utilization=inf"),
		head(Header, "TEXT eps=1,eps=2"), head(Header, "TEXT other=1"), head(Header, "TEXT named_metrics.=1"),
	} {
		if r, err := FromHeaders(h); err == nil {
			t.Errorf("%v: %v, want an error", h, r)
		}
	}
}

func TestWeight(t *testing.T) {
	for name, c := range map[string]struct {
		r       *Report
		metrics []string
		penalty float64
		want    uint32 // 0: an error
	}{
		"processor":             {r: &Report{RpsFractional: 100, CpuUtilization: 0.5}, want: 200},
		"application first":     {r: &Report{RpsFractional: 100, CpuUtilization: 0.5, ApplicationUtilization: 0.25}, want: 400},
		"named before all":      {r: &Report{RpsFractional: 100, ApplicationUtilization: 0.5, NamedMetrics: map[string]float64{"a": 1}}, metrics: []string{"named_metrics.a"}, want: 100},
		"the greatest":          {r: &Report{RpsFractional: 100, MemUtilization: 0.2, Utilization: map[string]float64{"x": 0.8}}, metrics: []string{"mem_utilization", "utilization.x"}, want: 125},
		"the greatest of all":   {r: &Report{RpsFractional: 100, RequestCost: map[string]float64{"x": 0.8, "y": 0.1}}, metrics: []string{"request_cost.*"}, want: 125},
		"named, but not there":  {r: &Report{RpsFractional: 100, CpuUtilization: 0.5}, metrics: []string{"named_metrics.a"}, want: 200},
		"errors":                {r: &Report{RpsFractional: 100, CpuUtilization: 0.5, Eps: 50}, penalty: 1, want: 100},
		"errors alone":          {r: &Report{RpsFractional: 100, Eps: 50}, penalty: 2, want: 100},
		"errors do not matter":  {r: &Report{RpsFractional: 100, CpuUtilization: 0.5, Eps: 50}, want: 200},
		"not above the largest": {r: &Report{RpsFractional: 1e300, CpuUtilization: 1e-300}, want: math.MaxUint32},
		"no requests":           {r: &Report{CpuUtilization: 0.5}},
		"no utilization":        {r: &Report{RpsFractional: 5}},
		"NaN":                   {r: &Report{RpsFractional: math.NaN(), CpuUtilization: 1}},
	} {
		got, err := Weight(c.r, c.metrics, c.penalty)
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%s: %d, %v, want %d", name, got, err, c.want)
		}
	}
}

func FuzzFromHeaders(f *testing.F) {
	for _, s := range []string{encoded(f), "TEXT cpu_utilization=1", `JSON {"eps": 1}`, "BIN " + encoded(f), "TEXT named_metrics.a=1,b:2"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, bin bool) {
		name := Header
		if bin {
			name = HeaderBin
		}
		r, err := FromHeaders(head(name, s))
		if err == nil && r == nil && s != "" {
			t.Error("neither a report nor an error")
		}
		if r != nil {
			_, _ = Weight(r, []string{"named_metrics.*"}, 1)
		}
	})
}
