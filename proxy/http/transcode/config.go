package transcode

import (
	"errors"
	"fmt"
	"os"

	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

const message = "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"

var supported = strict.Table{
	message: "proto_descriptor proto_descriptor_bin services print_options match_incoming_request_route ignored_query_parameters " +
		"auto_mapping ignore_unknown_query_parameters convert_grpc_status url_unescape_spec query_param_unescape_plus " +
		"match_unregistered_custom_verb request_validation_options case_insensitive_enum_parsing max_request_body_size max_response_body_size",
	message + ".PrintOptions": "add_whitespace always_print_primitive_fields always_print_enums_as_ints preserve_proto_field_names " +
		"stream_newline_delimited stream_sse_style_delimited",
	message + ".RequestValidationOptions": "reject_unknown_method reject_unknown_query_parameters reject_binding_body_field_collisions",
}

// config is one configuration of the filter, of a chain or of a route. It is the factory as well.
type config struct {
	methods       *methods // nil: there are no services, the filter does nothing
	keepRoute     bool
	ignored       map[string]bool // query parameters
	ignoreUnknown bool
	plus          bool   // '+' is a space in a query
	spared        string // what is not unescaped in variables of many segments
	anyVerb       bool
	anyCase       bool
	convert       bool // errors become JSON

	refuseMethod, refuseQuery, refuseCollision bool

	maxRequest, maxResponse int // bytes

	print              protojson.MarshalOptions
	indent, lines, sse bool
}

// What Envoy's connections hold by default.
const usualBody = 1 << 20

// reserved characters (RFC 6570, 1.5).
const reserved = "!#$&'()*+,/:;=?@[]"

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/" + message},
		Parse:    func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) { return parse(a) },
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			c, err := parse(a)
			return c, err
		},
	}
}

func parse(a *anypb.Any) (*config, error) {
	m := &transcoderv3.GrpcJsonTranscoder{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	c := &config{
		keepRoute: m.MatchIncomingRequestRoute, ignored: map[string]bool{}, ignoreUnknown: m.IgnoreUnknownQueryParameters,
		plus: m.QueryParamUnescapePlus, anyVerb: m.MatchUnregisteredCustomVerb, anyCase: m.CaseInsensitiveEnumParsing, convert: m.ConvertGrpcStatus,
		refuseMethod:    m.GetRequestValidationOptions().GetRejectUnknownMethod(),
		refuseQuery:     m.GetRequestValidationOptions().GetRejectUnknownQueryParameters(),
		refuseCollision: m.GetRequestValidationOptions().GetRejectBindingBodyFieldCollisions(),
		maxRequest:      size(m.MaxRequestBodySize), maxResponse: size(m.MaxResponseBodySize),
	}
	for _, name := range m.IgnoredQueryParameters {
		c.ignored[name] = true
	}
	var err error
	if c.spared, err = sparedBy(m.UrlUnescapeSpec); err != nil {
		return nil, err
	}
	c.printOptions(m.PrintOptions)
	if len(m.Services) == 0 {
		return c, nil
	}
	set, err := descriptor(m)
	if err != nil {
		return nil, err
	}
	if c.methods, err = compile(set, m.Services, m.AutoMapping); err != nil {
		return nil, err
	}
	c.print.Resolver = c.methods.types
	return c, nil
}

func size(v *wrapperspb.UInt32Value) int {
	if v == nil {
		return usualBody
	}
	return int(v.Value)
}

func sparedBy(s transcoderv3.GrpcJsonTranscoder_UrlUnescapeSpec) (string, error) {
	switch s {
	case transcoderv3.GrpcJsonTranscoder_ALL_CHARACTERS_EXCEPT_RESERVED:
		return reserved, nil
	case transcoderv3.GrpcJsonTranscoder_ALL_CHARACTERS_EXCEPT_SLASH:
		return "/", nil
	case transcoderv3.GrpcJsonTranscoder_ALL_CHARACTERS:
		return "", nil
	}
	return "", fmt.Errorf("url_unescape_spec: %d is not known", s)
}

func (c *config) printOptions(p *transcoderv3.GrpcJsonTranscoder_PrintOptions) {
	c.print = protojson.MarshalOptions{
		AllowPartial: true, UseProtoNames: p.GetPreserveProtoFieldNames(),
		UseEnumNumbers: p.GetAlwaysPrintEnumsAsInts(), EmitDefaultValues: p.GetAlwaysPrintPrimitiveFields(),
	}
	c.indent, c.lines, c.sse = p.GetAddWhitespace(), p.GetStreamNewlineDelimited(), p.GetStreamSseStyleDelimited()
}

func descriptor(m *transcoderv3.GrpcJsonTranscoder) ([]byte, error) {
	switch d := m.DescriptorSet.(type) {
	case *transcoderv3.GrpcJsonTranscoder_ProtoDescriptor:
		b, err := os.ReadFile(d.ProtoDescriptor)
		if err != nil {
			return nil, fmt.Errorf("proto_descriptor: %w", err)
		}
		return b, nil
	case *transcoderv3.GrpcJsonTranscoder_ProtoDescriptorBin:
		return d.ProtoDescriptorBin, nil
	}
	return nil, errors.New("BUG: validation wants a descriptor set")
}
