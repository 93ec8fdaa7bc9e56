package config

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/cel"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

// when decides whether something is logged.
type when func(i *filter.Info) bool

// filtered is an AccessLogger behind a filter.
type filtered struct {
	AccessLogger
	when when
}

// Log implements AccessLogger.
func (l filtered) Log(i *filter.Info) {
	if l.when(i) {
		l.AccessLogger.Log(i)
	}
}

func (d *Decoder) logFilter(m *accesslogv3.AccessLogFilter) (when, error) {
	switch f := m.FilterSpecifier.(type) {
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		return flagFilter(f.ResponseFlagFilter.Flags)
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		cmp, err := d.comparison(f.StatusCodeFilter.Comparison)
		return func(i *filter.Info) bool { return cmp(uint64(i.Status)) }, at(err, "status_code_filter.comparison")
	case *accesslogv3.AccessLogFilter_DurationFilter:
		cmp, err := d.comparison(f.DurationFilter.Comparison)
		return func(i *filter.Info) bool { return cmp(uint64(i.Duration.Milliseconds())) }, at(err, "duration_filter.comparison")
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		return func(i *filter.Info) bool { return !i.HealthCheck }, nil
	case *accesslogv3.AccessLogFilter_TraceableFilter:
		return func(i *filter.Info) bool { return i.Trace.Sampled && !i.HealthCheck }, nil
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		return d.runtimeFilter(f.RuntimeFilter)
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		return headerFilter(f.HeaderFilter.Header)
	case *accesslogv3.AccessLogFilter_GrpcStatusFilter:
		return statusFilter(f.GrpcStatusFilter), nil
	case *accesslogv3.AccessLogFilter_MetadataFilter:
		return metadataFilter(f.MetadataFilter)
	case *accesslogv3.AccessLogFilter_LogTypeFilter:
		return typeFilter(f.LogTypeFilter)
	case *accesslogv3.AccessLogFilter_ExtensionFilter:
		return celFilter(f.ExtensionFilter.GetTypedConfig())
	case *accesslogv3.AccessLogFilter_AndFilter:
		all, err := d.logFilters(f.AndFilter.Filters)
		return func(i *filter.Info) bool { return !slices.ContainsFunc(all, func(w when) bool { return !w(i) }) }, at(err, "and_filter")
	case *accesslogv3.AccessLogFilter_OrFilter:
		all, err := d.logFilters(f.OrFilter.Filters)
		return func(i *filter.Info) bool { return slices.ContainsFunc(all, func(w when) bool { return w(i) }) }, at(err, "or_filter")
	default:
		return nil, fmt.Errorf("%T is not supported", f)
	}
}

func (d *Decoder) logFilters(list []*accesslogv3.AccessLogFilter) ([]when, error) {
	var out []when
	for i, m := range list {
		w, err := d.logFilter(m)
		if err != nil {
			return nil, at(err, "filters[%d]", i)
		}
		out = append(out, w)
	}
	return out, nil
}

func flagFilter(names []string) (when, error) {
	if len(names) == 0 {
		return func(i *filter.Info) bool { return i.Flags != 0 }, nil
	}
	var want filter.ResponseFlags
	for i, n := range names {
		flag := flagByName(n)
		if flag == 0 {
			return nil, at(fmt.Errorf("%q is not supported", n), "response_flag_filter.flags[%d]", i)
		}
		want |= flag
	}
	return func(i *filter.Info) bool { return i.Flags&want != 0 }, nil
}

// flagByName finds a response flag by its short name.
func flagByName(name string) filter.ResponseFlags {
	for flag := filter.ResponseFlags(1); flag != 0; flag <<= 1 {
		if s := flag.String(); s == name && !strings.Contains(s, ",") {
			return flag
		}
	}
	return 0
}

func (d *Decoder) comparison(m *accesslogv3.ComparisonFilter) (func(uint64) bool, error) {
	def, key := uint64(m.GetValue().GetDefaultValue()), d.Runtime.Key(m.GetValue().GetRuntimeKey())
	switch m.GetOp() {
	case accesslogv3.ComparisonFilter_EQ:
		return func(n uint64) bool { return n == key.Integer(def) }, nil
	case accesslogv3.ComparisonFilter_GE:
		return func(n uint64) bool { return n >= key.Integer(def) }, nil
	case accesslogv3.ComparisonFilter_LE:
		return func(n uint64) bool { return n <= key.Integer(def) }, nil
	case accesslogv3.ComparisonFilter_NE:
		return func(n uint64) bool { return n != key.Integer(def) }, nil
	}
	return nil, at(fmt.Errorf("%v is not supported", m.GetOp()), "op")
}

// runtimeFilter lets a share pass; by the request id, so that all proxies of a
// request decide alike, unless it is to be independent.
func (d *Decoder) runtimeFilter(m *accesslogv3.RuntimeFilter) (when, error) {
	f := match.Fraction(m.PercentSampled)
	f.Key = d.Runtime.Key(m.RuntimeKey)
	alone := m.UseIndependentRandomness
	return func(i *filter.Info) bool {
		if !alone {
			if n, ok := requestNumber(i.RequestID); ok {
				return f.Chosen(n)
			}
		}
		return f.Chosen(rand.Uint64()) //nolint:gosec // a share of log entries
	}, at(f.Check(), "runtime_filter.percent_sampled")
}

// requestNumber is a number that a request id of the usual form (a UUID) stands for.
func requestNumber(id string) (uint64, bool) {
	if len(id) < 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(id[:8], 16, 64)
	return n, err == nil
}

func headerFilter(m *routev3.HeaderMatcher) (when, error) {
	h, err := match.Header(m)
	if err != nil {
		return nil, at(err, "header_filter.header")
	}
	tests, err := route.NewHeaderTests(h)
	var none filter.Headers
	return func(i *filter.Info) bool {
		if i.Request == nil {
			return tests.All(&none)
		}
		return tests.All(i.Request)
	}, at(err, "header_filter.header")
}

func statusFilter(m *accesslogv3.GrpcStatusFilter) when {
	return func(i *filter.Info) bool {
		n := format.GRPCStatusOf(i)
		return slices.ContainsFunc(m.Statuses, func(s accesslogv3.GrpcStatusFilter_Status) bool { return int(s) == n }) != m.Exclude
	}
}

func metadataFilter(m *accesslogv3.MetadataFilter) (when, error) {
	missing := m.MatchIfKeyNotFound == nil || m.MatchIfKeyNotFound.Value
	if m.Matcher == nil {
		return func(*filter.Info) bool { return missing }, nil
	}
	t, err := match.Metadata(m.Matcher)
	return func(i *filter.Info) bool {
		ok, found := t.Matches(i)
		if !found {
			return missing
		}
		return ok
	}, at(err, "metadata_filter.matcher")
}

func typeFilter(m *accesslogv3.LogTypeFilter) (when, error) {
	want := make([]string, len(m.Types))
	for i, t := range m.Types {
		want[i] = t.String()
	}
	return func(i *filter.Info) bool { return slices.Contains(want, i.Event.String()) != m.Exclude }, nil
}

func celFilter(a *anypb.Any) (when, error) {
	m := &celv3.ExpressionFilter{}
	if err := unpack(a, m); err != nil {
		return nil, at(err, "extension_filter.typed_config")
	}
	p, err := cel.Compile(m.Expression)
	if err != nil {
		return nil, at(err, "extension_filter.typed_config.expression")
	}
	return p.True, nil
}
