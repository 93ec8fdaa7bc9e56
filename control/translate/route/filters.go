package route

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
)

// Names of the filters that routes configure.
const (
	FaultFilter = "envoy.filters.http.fault"
	CORSFilter  = "envoy.filters.http.cors"
)

// filters puts a route's faults and CORS into its per-filter configuration.
func (s *site) filters(out *routev3.Route, r *model.Route) {
	set := func(name string, a *anypb.Any) {
		if out.TypedPerFilterConfig == nil {
			out.TypedPerFilterConfig = map[string]*anypb.Any{}
		}
		out.TypedPerFilterConfig[name] = a
	}
	if f := s.fault(r.Fault); f != nil {
		set(FaultFilter, pb.Any(f))
	}
	if r.CORS != nil {
		set(CORSFilter, pb.Any(cors(r.CORS)))
	}
}

func (s *site) fault(f *model.Fault) *faultv3.HTTPFault {
	if f == nil {
		return nil
	}
	out := &faultv3.HTTPFault{}
	if f.Delay > 0 && f.DelayPercent > 0 {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: pb.Duration(f.Delay)},
			Percentage:         pb.Fraction(f.DelayPercent),
		}
	}
	if f.AbortPercent > 0 {
		switch {
		case f.AbortHTTP > 0:
			out.Abort = &faultv3.FaultAbort{
				ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(f.AbortHTTP)},
				Percentage: pb.Fraction(f.AbortPercent),
			}
		case f.AbortGRPC != "":
			code, err := grpcCode(f.AbortGRPC)
			if err != nil {
				s.report(model.Finding{
					Code: CodeGRPC, Severity: model.Error, Field: "fault.abort.grpcStatus", Message: err.Error(),
					Remedy: "use a name such as UNAVAILABLE, or a number from 0 to 16",
				})
				break
			}
			out.Abort = &faultv3.FaultAbort{
				ErrorType:  &faultv3.FaultAbort_GrpcStatus{GrpcStatus: code},
				Percentage: pb.Fraction(f.AbortPercent),
			}
		}
	}
	if out.Delay == nil && out.Abort == nil {
		return nil
	}
	return out
}

// grpcCode reads a status by number or by name, in any of the usual spellings.
func grpcCode(s string) (uint32, error) {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil && n <= 16 {
		return uint32(n), nil
	}
	var c codes.Code
	if err := c.UnmarshalJSON([]byte(strconv.Quote(strings.ToUpper(s)))); err != nil {
		return 0, fmt.Errorf("%q is no gRPC status", s)
	}
	return uint32(c), nil
}

func cors(c *model.CORS) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowMethods:  strings.Join(c.AllowMethods, ","),
		AllowHeaders:  strings.Join(c.AllowHeaders, ","),
		ExposeHeaders: strings.Join(c.ExposeHeaders, ","),
		FilterEnabled: pb.RuntimeFraction(100),
	}
	for _, o := range c.AllowOrigins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, stringMatch(o))
	}
	if c.MaxAge > 0 {
		out.MaxAge = strconv.FormatInt(int64(c.MaxAge/time.Second), 10)
	}
	if c.AllowCredentials != nil {
		out.AllowCredentials = wrapperspb.Bool(*c.AllowCredentials)
	}
	if c.ForwardUnmatchedPreflights != nil {
		out.ForwardNotMatchingPreflights = wrapperspb.Bool(*c.ForwardUnmatchedPreflights)
	}
	return out
}
