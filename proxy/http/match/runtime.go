package match

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/route"
)

// Flag reads a feature flag. It is on when nothing says otherwise.
func Flag(ctx *filter.ParseContext, m *corev3.RuntimeFeatureFlag) runtime.Flag {
	return runtime.Flag{Default: m.GetDefaultValue() == nil || m.DefaultValue.Value, Key: ctx.Runtime.Key(m.GetRuntimeKey())}
}

// Share reads a share of requests; of a nil one it is none at all.
func Share(ctx *filter.ParseContext, m *corev3.RuntimeFractionalPercent) route.Fraction {
	f := Fraction(m.GetDefaultValue())
	f.Key = ctx.Runtime.Key(m.GetRuntimeKey())
	return f
}

// Double reads a number, def when there is none.
func Double(ctx *filter.ParseContext, m *corev3.RuntimeDouble, def float64) runtime.Number {
	if m != nil {
		def = m.DefaultValue
	}
	return runtime.Number{Default: def, Key: ctx.Runtime.Key(m.GetRuntimeKey())}
}

// Percent reads a percentage, def when there is none.
func Percent(ctx *filter.ParseContext, m *corev3.RuntimePercent, def float64) runtime.Number {
	if m != nil {
		def = m.GetDefaultValue().GetValue()
	}
	return runtime.Number{Default: def, Key: ctx.Runtime.Key(m.GetRuntimeKey())}
}

// Whole reads a whole number, 0 when there is none.
func Whole(ctx *filter.ParseContext, m *corev3.RuntimeUInt32) runtime.Number {
	return runtime.Number{Default: float64(m.GetDefaultValue()), Key: ctx.Runtime.Key(m.GetRuntimeKey())}
}
