// Package orca reads load reports of endpoints (ORCA): those that come with a
// response, in headers or trailers, and those that an endpoint sends by itself over
// gRPC (OpenRcaService). It also tells what a report means for a weight and which of
// its metrics are asked for. It knows neither hosts nor clusters.
package orca

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	orcapb "github.com/cncf/xds/go/xds/data/orca/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/proxy/filter"
)

// Header is the field of reports, as text, JSON or protobuf; HeaderBin that of gRPC.
const (
	Header    = "endpoint-load-metrics"
	HeaderBin = "endpoint-load-metrics-bin"
)

// Report is a load report.
type Report = orcapb.OrcaLoadReport

// FromHeaders reads the report in headers or trailers; nil: there is none.
func FromHeaders(h *filter.Headers) (*Report, error) {
	if v := h.Get(HeaderBin); v != "" {
		return binary(v)
	}
	v := h.Get(Header)
	if v == "" {
		return nil, nil
	}
	format, rest, _ := strings.Cut(v, " ")
	switch format {
	case "BIN":
		return binary(rest)
	case "JSON":
		r := &Report{}
		if err := protojson.Unmarshal([]byte(rest), r); err != nil {
			return nil, fmt.Errorf("load report in JSON: %w", err)
		}
		return r, nil
	case "TEXT":
		return text(rest)
	}
	return nil, fmt.Errorf("load report: unknown format %q", format)
}

func binary(v string) (*Report, error) {
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(v), "="))
	if err != nil {
		return nil, fmt.Errorf("load report: %w", err)
	}
	r := &Report{}
	if err := proto.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("load report: %w", err)
	}
	return r, nil
}

// text reads "name=value,name:value".
func text(v string) (*Report, error) {
	r := &Report{}
	seen := map[string]bool{}
	for item := range strings.SplitSeq(v, ",") {
		item = strings.TrimSpace(item)
		i := strings.IndexAny(item, "=:")
		if i <= 0 {
			return nil, fmt.Errorf("load report: %q is no metric with a value", item)
		}
		name := strings.TrimSpace(item[:i])
		f, err := strconv.ParseFloat(strings.TrimSpace(item[i+1:]), 64)
		switch {
		case err != nil || math.IsNaN(f) || math.IsInf(f, 0):
			return nil, fmt.Errorf("load report: the value of %q is not a finite number", name)
		case seen[name]:
			return nil, fmt.Errorf("load report: %q is there twice", name)
		}
		seen[name] = true
		if err := setMetric(r, name, f); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func setMetric(r *Report, name string, f float64) error {
	switch key, named := strings.CutPrefix(name, "named_metrics."); {
	case named && key != "":
		if r.NamedMetrics == nil {
			r.NamedMetrics = map[string]float64{}
		}
		r.NamedMetrics[key] = f
	case name == "cpu_utilization":
		r.CpuUtilization = f
	case name == "mem_utilization":
		r.MemUtilization = f
	case name == "application_utilization":
		r.ApplicationUtilization = f
	case name == "eps":
		r.Eps = f
	case name == "rps_fractional":
		r.RpsFractional = f
	default:
		return fmt.Errorf("load report: unknown metric %q", name)
	}
	return nil
}

// Each yields the metrics of a report that a name asks for: a field, a key of a
// map field as "named_metrics.key", or all of them as "named_metrics.*".
func Each(r *Report, name string, yield func(name string, value float64)) {
	switch name {
	case "cpu_utilization":
		yield(name, r.CpuUtilization)
	case "mem_utilization":
		yield(name, r.MemUtilization)
	case "application_utilization":
		yield(name, r.ApplicationUtilization)
	case "eps":
		yield(name, r.Eps)
	case "rps_fractional":
		yield(name, r.RpsFractional)
	}
	field, key, _ := strings.Cut(name, ".")
	var values map[string]float64
	switch field {
	case "named_metrics":
		values = r.NamedMetrics
	case "utilization":
		values = r.Utilization
	case "request_cost":
		values = r.RequestCost
	}
	if key != "*" {
		if v, ok := values[key]; ok {
			yield(name, v)
		}
		return
	}
	for k, v := range values {
		yield(field+"."+k, v)
	}
}

// Weight is the weight of an endpoint by its report: its requests per second
// through its utilization, which is the greatest of the metrics that are named,
// else that of the application, else that of the processor. Errors per request,
// times penalty, count as utilization.
func Weight(r *Report, metrics []string, penalty float64) (uint32, error) {
	if !(r.RpsFractional > 0) {
		return 0, errors.New("load report: it has no requests per second")
	}
	u := 0.0
	for _, m := range metrics {
		Each(r, m, func(_ string, v float64) { u = max(u, v) })
	}
	if u <= 0 {
		u = r.ApplicationUtilization
	}
	if u <= 0 {
		u = r.CpuUtilization
	}
	u += penalty * r.Eps / r.RpsFractional
	if !(u > 0) {
		return 0, errors.New("load report: it has no utilization")
	}
	return uint32(min(r.RpsFractional/u, math.MaxUint32)), nil
}
