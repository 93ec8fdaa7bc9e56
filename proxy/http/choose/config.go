// Package choose reads the matcher trees of filters (xds.type.matcher.v3): what is
// known of a request or a connection leads to an action of the filter's own.
//
// Trees are compiled when the configuration arrives; inputs, tests and actions that
// are not known are refused by name. Choosing allocates where a text has to be made
// first (addresses, ports, headers of several lines, conditions in CEL), and nowhere
// else.
//
// Only requests and connections are looked at, no responses.
package choose

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	sslv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/ssl/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/cel"
	"github.com/weftmesh/weft/proxy/filter/choice"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Facts are what a choice is made by. Head is empty for a connection, Info never nil.
type Facts struct {
	Head   *filter.Headers
	Conn   *filter.ConnInfo
	Info   *filter.Info
	Remote netip.AddrPort // the client, as a trusted x-forwarded-for says
}

type (
	input = choice.Input[*Facts]
	test  = choice.Test[*Facts]
)

// Supported lists the inputs and tests that Parse reads, beside match.SupportedTrees.
var Supported = strict.Table{
	"xds.type.matcher.v3.HttpAttributesCelMatchInput":                                     "",
	"xds.type.matcher.v3.CelMatcher":                                                      "expr_match description",
	"xds.type.v3.CelExpression":                                                           "parsed_expr~ checked_expr~ cel_expr_parsed~ cel_expr_checked~ cel_expr_string",
	"envoy.type.matcher.v3.HttpRequestHeaderMatchInput":                                   "header_name",
	"envoy.type.matcher.v3.HttpRequestQueryParamMatchInput":                               "query_param",
	"envoy.extensions.matching.input_matchers.metadata.v3.Metadata":                       "value invert",
	"envoy.extensions.matching.common_inputs.network.v3.DestinationIPInput":               "",
	"envoy.extensions.matching.common_inputs.network.v3.DestinationPortInput":             "",
	"envoy.extensions.matching.common_inputs.network.v3.SourceIPInput":                    "",
	"envoy.extensions.matching.common_inputs.network.v3.SourcePortInput":                  "",
	"envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput":              "",
	"envoy.extensions.matching.common_inputs.network.v3.SourceTypeInput":                  "",
	"envoy.extensions.matching.common_inputs.network.v3.ServerNameInput":                  "",
	"envoy.extensions.matching.common_inputs.network.v3.FilterStateInput":                 "key",
	"envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput":             "filter path",
	"envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput.PathSegment": "key",
	"envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput":                          "",
	"envoy.extensions.matching.common_inputs.ssl.v3.DnsSanInput":                          "",
	"envoy.extensions.matching.common_inputs.ssl.v3.SubjectInput":                         "",
}

// Parse compiles a tree; action reads what its ends hold, and says what is wrong
// with it. Errors name the field. m has been checked against Supported.
func Parse[T any](ctx *filter.ParseContext, m *xdsmatcherv3.Matcher, action func(*anypb.Any) (T, error)) (choice.Tree[*Facts, T], error) {
	trees := match.Trees[*Facts, T]{
		Input: textInput, Custom: customTest, Runtime: ctx.Runtime,
		Action: func(m *xdscorev3.TypedExtensionConfig) (T, error) {
			a, err := action(m.GetTypedConfig())
			return a, strict.At(err, "typed_config")
		},
	}
	return trees.Read(m)
}

// ReadsServerName tells whether a tree looks at the name that the client asks for
// in its handshake.
func ReadsServerName(m *xdsmatcherv3.Matcher) bool {
	return strings.Contains(m.String(), "network.v3.ServerNameInput")
}

// customTest compiles the tests that look at more than a text: conditions and
// metadata; nil: it is none of them.
func customTest(from, custom *xdscorev3.TypedExtensionConfig) (test, error) {
	a := custom.GetTypedConfig()
	condition, value := &xdsmatcherv3.CelMatcher{}, &metadatav3.Metadata{}
	switch {
	case a.MessageIs(condition):
		if !from.GetTypedConfig().MessageIs(&xdsmatcherv3.HttpAttributesCelMatchInput{}) {
			return nil, strict.At(errors.New("a condition wants xds.type.matcher.v3.HttpAttributesCelMatchInput"), "input")
		}
		if err := a.UnmarshalTo(condition); err != nil {
			return nil, strict.At(err, "custom_match.typed_config")
		}
		p, err := program(condition)
		return func(f *Facts) bool { return p.True(f.Info) }, strict.At(err, "custom_match.typed_config.expr_match")
	case a.MessageIs(value):
		if err := a.UnmarshalTo(value); err != nil {
			return nil, strict.At(err, "custom_match.typed_config")
		}
		return metadataTest(from, value)
	}
	return nil, nil
}

// metadataTest tests a value of dynamic metadata that is no text.
func metadataTest(from *xdscorev3.TypedExtensionConfig, m *metadatav3.Metadata) (test, error) {
	i := &networkv3.DynamicMetadataInput{}
	if !from.GetTypedConfig().MessageIs(i) {
		return nil, strict.At(errors.New("a test of metadata wants envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"), "input")
	}
	if err := from.GetTypedConfig().UnmarshalTo(i); err != nil {
		return nil, strict.At(err, "input.typed_config")
	}
	spec := &matcherv3.MetadataMatcher{Filter: i.Filter, Value: m.Value, Invert: m.Invert}
	for _, p := range i.Path {
		spec.Path = append(spec.Path, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: p.GetKey()}})
	}
	t, err := match.Metadata(spec)
	return func(f *Facts) bool { ok, _ := t.Matches(f.Info); return ok }, strict.At(err, "custom_match.typed_config")
}

// program compiles a condition, in whichever of its forms it is.
func program(m *xdsmatcherv3.CelMatcher) (*cel.Program, error) {
	e := m.GetExprMatch()
	switch {
	case e.GetCelExprString() != "":
		return cel.Compile(e.CelExprString)
	case e.GetCelExprParsed() != nil:
		return cel.LoadParsed(wire(e.CelExprParsed))
	case e.GetCelExprChecked() != nil:
		return cel.LoadChecked(wire(e.CelExprChecked))
	case e.GetParsedExpr() != nil: //nolint:staticcheck // deprecated, and in use
		return cel.LoadParsed(wire(e.GetParsedExpr())) //nolint:staticcheck // see above
	case e.GetCheckedExpr() != nil: //nolint:staticcheck // see above
		return cel.LoadChecked(wire(e.GetCheckedExpr())) //nolint:staticcheck // see above
	}
	return nil, errors.New("there is no expression")
}

// wire is m as bytes: both generations of CEL's messages are the same there.
func wire(m proto.Message) []byte {
	b, _ := proto.Marshal(m) // what was read can be written
	return b
}

// textInput compiles an input whose value is a text.
func textInput(m *xdscorev3.TypedExtensionConfig) (input, error) {
	a := m.GetTypedConfig()
	header, query := &matcherv3.HttpRequestHeaderMatchInput{}, &matcherv3.HttpRequestQueryParamMatchInput{}
	state, metadata := &networkv3.FilterStateInput{}, &networkv3.DynamicMetadataInput{}
	var into proto.Message
	for _, known := range []proto.Message{header, query, state, metadata} {
		if a.MessageIs(known) {
			into = known
		}
	}
	if into == nil {
		return connInput(m)
	}
	if err := a.UnmarshalTo(into); err != nil {
		return nil, strict.At(err, "typed_config")
	}
	switch into {
	case header:
		name := strings.ToLower(header.HeaderName)
		if name == "host" {
			name = ":authority"
		}
		return func(f *Facts) (string, bool) { return f.Head.Joined(name) }, nil
	case query:
		return func(f *Facts) (string, bool) { return parameter(f.Head.Path, query.QueryParam) }, nil
	case state:
		return func(f *Facts) (string, bool) { s, ok := f.Info.Object(state.Key).(string); return s, ok }, nil
	}
	path := []string{metadata.Filter}
	for _, p := range metadata.Path {
		path = append(path, p.GetKey())
	}
	return func(f *Facts) (string, bool) { s, ok := filter.Lookup(f.Info.Metadata, path).(string); return s, ok }, nil
}

// connInput compiles an input about the connection.
func connInput(m *xdscorev3.TypedExtensionConfig) (input, error) {
	local := func(f *Facts) netip.AddrPort { return f.Conn.Local }
	remote := func(f *Facts) netip.AddrPort { return f.Remote }
	addr := func(get func(*Facts) netip.AddrPort) input {
		return func(f *Facts) (string, bool) { p := get(f); return p.Addr().Unmap().String(), p.IsValid() }
	}
	port := func(get func(*Facts) netip.AddrPort) input {
		return func(f *Facts) (string, bool) { p := get(f); return strconv.Itoa(int(p.Port())), p.IsValid() }
	}
	switch a := m.GetTypedConfig(); {
	case a.MessageIs(&networkv3.DestinationIPInput{}):
		return addr(local), nil
	case a.MessageIs(&networkv3.DestinationPortInput{}):
		return port(local), nil
	case a.MessageIs(&networkv3.SourceIPInput{}):
		return addr(remote), nil
	case a.MessageIs(&networkv3.SourcePortInput{}):
		return port(remote), nil
	case a.MessageIs(&networkv3.DirectSourceIPInput{}):
		return addr(direct), nil
	case a.MessageIs(&networkv3.SourceTypeInput{}):
		return func(f *Facts) (string, bool) { return "local", isLocal(f) }, nil
	case a.MessageIs(&networkv3.ServerNameInput{}):
		return func(f *Facts) (string, bool) { return f.Conn.SNI, f.Conn.SNI != "" }, nil
	case a.MessageIs(&sslv3.UriSanInput{}):
		return func(f *Facts) (string, bool) { return names(f, uris) }, nil
	case a.MessageIs(&sslv3.DnsSanInput{}):
		return func(f *Facts) (string, bool) { return names(f, hosts) }, nil
	case a.MessageIs(&sslv3.SubjectInput{}):
		return func(f *Facts) (string, bool) { return names(f, subject) }, nil
	default:
		return nil, strict.At(fmt.Errorf("%s is not supported", a.GetTypeUrl()), "typed_config")
	}
}

func direct(f *Facts) netip.AddrPort {
	if f.Conn.Direct.IsValid() {
		return f.Conn.Direct
	}
	return f.Conn.Remote
}

// isLocal tells whether the connection comes from this machine.
func isLocal(f *Facts) bool {
	return f.Remote.Addr().Unmap().IsLoopback() || f.Remote.Addr() == f.Conn.Local.Addr()
}

// parameter is the first query parameter of a name, decoded.
func parameter(path, name string) (string, bool) {
	_, q, _ := strings.Cut(path, "?")
	q, _, _ = strings.Cut(q, "#")
	for q != "" {
		var pair string
		pair, q, _ = strings.Cut(q, "&")
		k, v, _ := strings.Cut(pair, "=")
		if decoded(k) == name {
			return decoded(v), true
		}
	}
	return "", false
}

// decoded is s without percent encoding; s itself where that is faulty.
func decoded(s string) string {
	if d, err := url.PathUnescape(s); err == nil {
		return d
	}
	return s
}
