package ratelimit

import (
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/proxy/http/match"
)

func TestSupportedIsSpelt(t *testing.T) {
	c, err := strict.New(supported, descriptor.Supported, match.SupportedServices, match.SupportedChanges, match.Supported)
	if err == nil {
		err = c.Verify()
	}
	if err != nil {
		t.Error(err)
	}
}

// nobody answers no calls.
type nobody struct{}

func (nobody) Call(*filter.Call, func(*filter.Answer, error)) func() { return func() {} }

func TestRefused(t *testing.T) {
	const typ, route, network = `{"@type":"` + httpPrefix + `RateLimit","domain":"d"`, `{"@type":"` + httpPrefix + `RateLimitPerRoute"`, `{"@type":"` + networkPrefix + `RateLimit","domain":"d","statPrefix":"s","descriptors":[{"entries":[{"key":"a"}]}]`
	const service = `,"rateLimitService":{"grpcService":{"envoyGrpc":{"clusterName":"c"}},"transportApiVersion":"V3"}`
	parser := func(parse func(*filter.ParseContext, *anypb.Any) error) func(*filter.ParseContext, *anypb.Any) error {
		return func(ctx *filter.ParseContext, a *anypb.Any) error {
			ctx.Calls = nobody{}
			return parse(ctx, a)
		}
	}
	filtertest.Refused(t, parser(func(ctx *filter.ParseContext, a *anypb.Any) error {
		_, err := HTTPKind().Parse(ctx, a)
		return err
	}), map[string]string{
		typ + `,"rateLimitService":{"grpcService":{"googleGrpc":{"targetUri":"x","statPrefix":"y"}}}}`:                                                                  "rate_limit_service.grpc_service.google_grpc",
		typ + `,"rateLimitService":{"grpcService":{"envoyGrpc":{"clusterName":"c"}},"transportApiVersion":"V2"}}`:                                                       "transport_api_version",
		typ + service + `,"enableRetryAfterHeader":true}`:                                                                                                               "enable_retry_after_header",
		typ + service + `,"rateLimits":[{"actions":[{"extension":{"name":"x","typedConfig":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}}]}]}`: "rate_limits[0].actions[0].extension",
		typ + service + `,"requestType":"some"}`:                                                                                                                        "RequestType",
	})
	filtertest.Refused(t, parser(func(ctx *filter.ParseContext, a *anypb.Any) error {
		_, err := HTTPKind().ParseRoute(ctx, a)
		return err
	}), map[string]string{route + `,"overrideOption":"INCLUDE_POLICY"}`: "override_option"})
	filtertest.Refused(t, parser(func(ctx *filter.ParseContext, a *anypb.Any) error {
		_, err := NetworkKind().Parse(ctx, a)
		return err
	}), map[string]string{network + service + `,"timeout":"0s"}`: "timeout"})
}
