package extauthz

import (
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/http/match"
)

func TestSupportedIsSpelt(t *testing.T) {
	c, err := strict.New(supported, match.SupportedServices, match.Supported)
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
	const typ, route, network = `{"@type":"` + httpPrefix + `ExtAuthz"`, `{"@type":"` + httpPrefix + `ExtAuthzPerRoute"`, `{"@type":"` + networkPrefix + `ExtAuthz","statPrefix":"x"`
	const service = `"grpcService":{"envoyGrpc":{"clusterName":"c"}},"transportApiVersion":"V3"`
	filtertest.Refused(t, func(ctx *filter.ParseContext, a *anypb.Any) error {
		ctx.Calls = nobody{}
		_, err := HTTPKind().Parse(ctx, a)
		return err
	}, map[string]string{
		typ + `}`: "services",
		typ + `,"grpcService":{"envoyGrpc":{"clusterName":"c"}},"transportApiVersion":"V2"}`:                                        "transport_api_version",
		typ + `,"grpcService":{"googleGrpc":{"targetUri":"x","statPrefix":"y"}}}`:                                                   "grpc_service.google_grpc",
		typ + `,` + service + `,"decoderHeaderMutationRules":{"allowExpression":{"regex":"("}}}`:                                    "decoder_header_mutation_rules",
		typ + `,` + service + `,"allowedHeaders":{"patterns":[{"safeRegex":{"regex":"("}}]}}`:                                       "allowed_headers.patterns",
		typ + `,"httpService":{"serverUri":{"uri":"http://a","cluster":"c","timeout":"1s"},"pathPrefix":"/a","pathOverride":"/b"}}`: "http_service.path_override",
	})
	filtertest.Refused(t, func(ctx *filter.ParseContext, a *anypb.Any) error {
		_, err := HTTPKind().ParseRoute(ctx, a)
		return err
	}, map[string]string{
		route + `,"checkSettings":{"grpcService":{"googleGrpc":{"targetUri":"x","statPrefix":"y"}}}}`:            "check_settings.grpc_service",
		route + `,"checkSettings":{"disableRequestBodyBuffering":true,"withRequestBody":{"maxRequestBytes":5}}}`: "check_settings.with_request_body",
	})
	filtertest.Refused(t, func(ctx *filter.ParseContext, a *anypb.Any) error {
		ctx.Calls = nobody{}
		_, err := NetworkKind().Parse(ctx, a)
		return err
	}, map[string]string{
		network + `}`: "grpc_service",
		network + `,"grpcService":{"envoyGrpc":{"clusterName":"c"},"timeout":"0s"},"transportApiVersion":"V3"}`: "grpc_service.timeout",
	})
}
