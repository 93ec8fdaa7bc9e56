package fault

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			c, err := parse(ctx, a)
			if err != nil {
				return nil, err
			}
			return &factory{cfg: c, name: ctx.FilterName, stats: statsOf(ctx)}, nil
		},
		ParseRoute: func(ctx *filter.ParseContext, a *anypb.Any) (any, error) { return parse(ctx, a) },
	}
}

var supported = strict.Table{
	// Statistics by downstream cluster are not kept, so there is nothing to disable.
	"envoy.extensions.filters.http.fault.v3.HTTPFault": "delay abort headers max_active_faults disable_downstream_cluster_stats " +
		"delay_percent_runtime abort_percent_runtime delay_duration_runtime abort_http_status_runtime abort_grpc_status_runtime max_active_faults_runtime",
	"envoy.extensions.filters.http.fault.v3.FaultAbort":   "http_status grpc_status percentage response_body",
	"envoy.extensions.filters.common.fault.v3.FaultDelay": "fixed_delay percentage",
}

func statsOf(ctx *filter.ParseContext) stats {
	return stats{
		delays: ctx.Counter("fault.delays_injected"), aborts: ctx.Counter("fault.aborts_injected"),
		overflow: ctx.Counter("fault.faults_overflow"), active: ctx.Gauge("fault.active_faults"),
	}
}

// key is the runtime's value of a name, or of the one that is usual.
func key(ctx *filter.ParseContext, name, usual string) *runtime.Key {
	return ctx.Runtime.Key(cmp.Or(name, "fault.http."+usual))
}

func parse(ctx *filter.ParseContext, a *anypb.Any) (*Config, error) {
	m := &faultv3.HTTPFault{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	c := newConfig()
	var err error
	if c.headers, err = match.Headers(m.Headers...); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	c.limit.usual, c.limit.key = math.MaxInt64, key(ctx, m.MaxActiveFaultsRuntime, "max_active_faults")
	if m.MaxActiveFaults != nil {
		c.limit.usual = uint64(m.MaxActiveFaults.Value)
	}
	if c.limit.usual == 0 {
		return nil, errors.New("max_active_faults: 0 switches all faults off; remove the fault instead")
	}
	if d := m.Delay; d != nil {
		c.delay = number{uint64(d.GetFixedDelay().AsDuration().Milliseconds()), key(ctx, m.DelayDurationRuntime, "delay.fixed_duration_ms")} //nolint:gosec // it is more than 0
		c.delays = match.Fraction(d.Percentage)
		c.delays.Key = key(ctx, m.DelayPercentRuntime, "delay.fixed_delay_percent")
	}
	if b := m.Abort; b != nil {
		c.aborts = match.Fraction(b.Percentage)
		c.aborts.Key = key(ctx, m.AbortPercentRuntime, "abort.abort_percent")
		c.reply = filter.LocalReply{
			Status: int(b.GetHttpStatus()), GRPCStatus: -1, Body: "fault filter abort",
			Details: "fault_filter_abort", Flags: filter.FlagFaultInjected,
		}
		if b.ResponseBody != "" {
			c.reply.Body = b.ResponseBody
		}
		if g, ok := b.ErrorType.(*faultv3.FaultAbort_GrpcStatus); ok {
			c.reply.GRPCStatus, c.reply.Status = int(g.GrpcStatus), filter.HTTPOfGRPC(int(g.GrpcStatus))
			c.code = key(ctx, m.AbortGrpcStatusRuntime, "abort.grpc_status")
		} else {
			c.code = key(ctx, m.AbortHttpStatusRuntime, "abort.http_status")
		}
	}
	return c, nil
}
