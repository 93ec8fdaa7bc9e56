package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/choice"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/listener"
)

// connInput is a text that is known of a connection, or of a datagram.
type connInput = choice.Input[*listener.Facts]

// chainMatcher reads a filter_chain_matcher. It notes in l what the choice depends on.
func (d *Decoder) chainMatcher(m *xdsmatcherv3.Matcher, l *listener.Listener) error {
	names := map[string]bool{}
	for i, c := range l.Chains {
		switch {
		case c.Name == "":
			return at(errors.New("is empty, and the matcher chooses by names"), "filter_chains[%d].name", i)
		case names[c.Name]:
			return at(fmt.Errorf("%q is that of another chain", c.Name), "filter_chains[%d].name", i)
		case !c.Match.Empty():
			return at(errors.New("is not looked at beside filter_chain_matcher"), "filter_chains[%d].filter_chain_match", i)
		}
		names[c.Name] = true
	}
	trees := match.Trees[*listener.Facts, string]{
		Input: func(m *xdscorev3.TypedExtensionConfig) (connInput, error) {
			in, err := chainInput(m.GetTypedConfig(), &l.MatcherReads)
			return in, at(err, "typed_config")
		},
		Action: chainName, Runtime: d.Runtime,
	}
	var err error
	l.Matcher, err = trees.Read(m)
	return at(err, "filter_chain_matcher")
}

// chainName reads the action of filter_chain_matcher; a chain that is not there
// closes the connection.
func chainName(m *xdscorev3.TypedExtensionConfig) (string, error) {
	name := &wrapperspb.StringValue{}
	a := m.GetTypedConfig()
	if a == nil || !a.MessageIs(name) {
		return "", at(errors.New("want the name of a filter chain, a google.protobuf.StringValue"), "typed_config")
	}
	err := a.UnmarshalTo(name)
	return name.Value, at(err, "typed_config")
}

// addressInput reads an input that datagrams have as well as connections; nil: it is none.
func addressInput(a *anypb.Any) connInput {
	addr := func(get func(*listener.Facts) netip.AddrPort) connInput {
		return func(f *listener.Facts) (string, bool) { p := get(f); return p.Addr().String(), p.IsValid() }
	}
	port := func(get func(*listener.Facts) netip.AddrPort) connInput {
		return func(f *listener.Facts) (string, bool) { p := get(f); return strconv.Itoa(int(p.Port())), p.IsValid() }
	}
	local := func(f *listener.Facts) netip.AddrPort { return f.Local }
	remote := func(f *listener.Facts) netip.AddrPort { return f.Remote }
	switch {
	case a.MessageIs(&networkv3.DestinationIPInput{}):
		return addr(local)
	case a.MessageIs(&networkv3.DestinationPortInput{}):
		return port(local)
	case a.MessageIs(&networkv3.SourceIPInput{}):
		return addr(remote)
	case a.MessageIs(&networkv3.SourcePortInput{}):
		return port(remote)
	}
	return nil
}

// chainInput reads what a chain is chosen by, and notes which inspectors it needs.
func chainInput(a *anypb.Any, reads *listener.Reads) (connInput, error) {
	if in := addressInput(a); in != nil {
		return in, nil
	}
	state, metadata := &networkv3.FilterStateInput{}, &networkv3.DynamicMetadataInput{}
	switch {
	case a.MessageIs(&networkv3.DirectSourceIPInput{}):
		return func(f *listener.Facts) (string, bool) { return f.Direct.Addr().String(), f.Direct.IsValid() }, nil
	case a.MessageIs(&networkv3.SourceTypeInput{}):
		return func(f *listener.Facts) (string, bool) { return "local", f.IsLocal() }, nil
	case a.MessageIs(&networkv3.ServerNameInput{}):
		reads.TLS = true
		return func(f *listener.Facts) (string, bool) { return f.SNI, f.SNI != "" }, nil
	case a.MessageIs(&networkv3.TransportProtocolInput{}):
		reads.TLS = true
		return func(f *listener.Facts) (string, bool) {
			if f.TLS {
				return listener.ProtoTLS, true
			}
			return listener.ProtoRaw, true
		}, nil
	case a.MessageIs(&networkv3.ApplicationProtocolInput{}):
		*reads = listener.Reads{TLS: true, HTTP: true}
		return protocolsInput, nil
	case a.MessageIs(&networkv3.NetworkNamespaceInput{}):
		// Listeners with network_namespace_filepath are refused: none is in a namespace of its own.
		return func(*listener.Facts) (string, bool) { return "", false }, nil
	case a.MessageIs(state):
		err := unpack(a, state)
		return func(f *listener.Facts) (string, bool) { s, ok := f.Objects[state.Key].(string); return s, ok }, err
	case a.MessageIs(metadata):
		if err := unpack(a, metadata); err != nil {
			return nil, err
		}
		path := []string{metadata.Filter}
		for _, p := range metadata.Path {
			path = append(path, p.GetKey())
		}
		return func(f *listener.Facts) (string, bool) {
			s, ok := filter.Lookup(f.Metadata, path).(string)
			return s, ok
		}, nil
	}
	return nil, fmt.Errorf("%s is not supported", typeOf(a))
}

// protocolsInput is the list of application protocols as Envoy writes it.
func protocolsInput(f *listener.Facts) (string, bool) {
	if len(f.ALPN) == 0 {
		return "", false
	}
	return "'" + strings.Join(f.ALPN, "','") + "'", true
}
