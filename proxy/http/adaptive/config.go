package adaptive

import (
	"errors"
	"time"

	adaptivev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/" + pkg + "AdaptiveConcurrency"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			f, err := parse(ctx, a)
			if err != nil {
				return nil, err
			}
			f.stats = statsOf(ctx)
			f.start()
			return f, nil
		},
	}
}

func statsOf(ctx *filter.ParseContext) stats {
	const prefix = "adaptive_concurrency.gradient_controller."
	return stats{
		blocked: ctx.Counter(prefix + "rq_blocked"), limit: ctx.Gauge(prefix + "concurrency_limit"), gradient: ctx.Gauge(prefix + "gradient"),
		headroom: ctx.Gauge(prefix + "burst_queue_size"), minRTT: ctx.Gauge(prefix + "min_rtt_msecs"),
		sampleRTT: ctx.Gauge(prefix + "sample_rtt_msecs"), measurement: ctx.Gauge(prefix + "min_rtt_calculation_active"),
	}
}

const (
	pkg      = "envoy.extensions.filters.http.adaptive_concurrency.v3."
	gradient = pkg + "GradientControllerConfig"
)

var supported = strict.Table{
	pkg + "AdaptiveConcurrency": "gradient_controller_config enabled concurrency_limit_exceeded_status",
	gradient:                    "sample_aggregate_percentile concurrency_limit_params min_rtt_calc_params",
	gradient + ".ConcurrencyLimitCalculationParams": "max_concurrency_limit concurrency_update_interval min_concurrency_limit",
	gradient + ".MinimumRTTCalculationParams":       "interval fixed_value request_count jitter min_concurrency buffer",
	"envoy.type.v3.Percent":                         "value",
	"envoy.type.v3.HttpStatus":                      "code",
	"envoy.config.core.v3.RuntimeFeatureFlag":       "default_value runtime_key",
}

// Envoy's defaults; shares in percent.
const (
	defaultQuantile = 50
	defaultMost     = 1000
	defaultRequests = 50
	defaultJitter   = 15
	defaultAtOnce   = 3
	defaultBuffer   = 25
)

func parse(ctx *filter.ParseContext, a *anypb.Any) (*factory, error) {
	m := &adaptivev3.AdaptiveConcurrency{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	f := &factory{
		enabled: match.Flag(ctx, m.Enabled),
		status:  int(m.GetConcurrencyLimitExceededStatus().GetCode()), controller: &controller{runtime: keysOf(ctx.Runtime)},
	}
	if f.status < 400 {
		f.status = 503
	}
	g := m.GetGradientControllerConfig()
	limits, rtt := g.GetConcurrencyLimitParams(), g.GetMinRttCalcParams()
	p := params{
		quantile: share(g.GetSampleAggregatePercentile(), defaultQuantile),
		most:     count(limits.MaxConcurrencyLimit, defaultMost),
		update:   limits.ConcurrencyUpdateInterval.AsDuration().Truncate(time.Millisecond),
		interval: rtt.GetInterval().AsDuration().Truncate(time.Millisecond), fixed: rtt.GetFixedValue().AsDuration().Truncate(time.Millisecond),
		requests: count(rtt.RequestCount, defaultRequests), measure: count(rtt.MinConcurrency, defaultAtOnce),
		jitter: share(rtt.Jitter, defaultJitter), buffer: share(rtt.Buffer, defaultBuffer),
	}
	p.least = count(limits.MinConcurrencyLimit, uint32(p.measure))
	f.configured = p
	if p.update == 0 {
		return nil, errors.New("gradient_controller_config.concurrency_limit_params.concurrency_update_interval: is less than a millisecond")
	}
	if p.interval == 0 && p.fixed == 0 {
		return nil, errors.New("gradient_controller_config.min_rtt_calc_params: needs interval or fixed_value")
	}
	return f, nil
}

// share is a percentage as a part of 1.
func share(p *typev3.Percent, def float64) float64 {
	if p != nil {
		def = p.Value
	}
	return def / 100
}

func count(v *wrapperspb.UInt32Value, def uint32) int64 {
	if v != nil {
		def = v.Value
	}
	return int64(def)
}
