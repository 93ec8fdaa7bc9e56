package config

import (
	"errors"
	"fmt"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	origdstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	origsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	proxyprotov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/listener"
)

// inspector reads a listener filter that follows others.
func (d *Decoder) inspector(m *listenerv3.ListenerFilter, before []listener.Inspector, cc *chainContext) (in listener.Inspector, err error) {
	late := func(is bool) error {
		if is && slices.ContainsFunc(before, looks) {
			return errors.New("a proxy_protocol filter is supported only before tls_inspector and http_inspector")
		}
		if is && slices.ContainsFunc(before, func(in listener.Inspector) bool { return in.Kind == listener.OriginalSource }) {
			return errors.New("a proxy_protocol filter is supported only before original_src")
		}
		return nil
	}
	if c := m.GetConfigDiscovery(); c != nil {
		names := typeNames(c)
		e := extension{ParseContext: filter.ParseContext{FilterName: m.Name, Outbound: cc.outbound}, kind: listenerFilter}
		x, err := discover(d, c, e, cc, d.inspectorOf)
		if err == nil {
			err = late(slices.Contains(names, nameOf(&proxyprotov3.ProxyProtocol{})))
		}
		if err != nil {
			return in, at(err, "config_discovery")
		}
		in.Live = x.now.Load
		in.MayLook = slices.Contains(names, nameOf(&tlsinspectorv3.TlsInspector{})) || slices.Contains(names, nameOf(&httpinspectorv3.HttpInspector{}))
	} else {
		if m.GetTypedConfig() == nil {
			return in, at(fmt.Errorf("%q has none", m.Name), "typed_config")
		}
		if in, err = d.inspectorOf(m.GetTypedConfig()); err != nil {
			return in, at(err, "typed_config")
		}
		if err := late(in.Kind == listener.ProxyProtocol); err != nil {
			return in, err
		}
	}
	if m.FilterDisabled != nil {
		p, err := predicate(m.FilterDisabled)
		if err != nil {
			return in, at(err, "filter_disabled")
		}
		in.Disabled = &p
	}
	return in, nil
}

func nameOf(m proto.Message) string { return string(m.ProtoReflect().Descriptor().FullName()) }

// inspectorOf reads the configuration of a listener filter.
func (d *Decoder) inspectorOf(a *anypb.Any) (in listener.Inspector, err error) {
	switch {
	case a.MessageIs(&origdstv3.OriginalDst{}):
		in.Kind = listener.OriginalDst
	case a.MessageIs(&origsrcv3.OriginalSrc{}):
		m := &origsrcv3.OriginalSrc{}
		err = unpack(a, m)
		in.Kind, in.Mark = listener.OriginalSource, int(m.Mark)
	case a.MessageIs(&tlsinspectorv3.TlsInspector{}):
		in.Kind = listener.TLSInspector
	case a.MessageIs(&httpinspectorv3.HttpInspector{}):
		in.Kind = listener.HTTPInspector
	case a.MessageIs(&proxyprotov3.ProxyProtocol{}):
		in.Kind = listener.ProxyProtocol
		in.Proxy, err = d.proxyProtocol(a)
	default:
		err = fmt.Errorf("%s is not supported", a.TypeUrl)
	}
	return in, err
}

// networkFilter reads a filter that stands before the last one.
func (d *Decoder) networkFilter(m *listenerv3.Filter, cc *chainContext) (filter.NetworkFactory, error) {
	ctx := filter.ParseContext{FilterName: m.Name, Outbound: cc.outbound, Stats: d.FilterStats, ServiceCluster: d.ServiceCluster, Calls: d.Calls, Local: d.Local, Runtime: d.Runtime}
	parse := func(a *anypb.Any) (filter.NetworkFactory, error) {
		own := ctx
		return d.networkFactory(&own, a)
	}
	if c := m.GetConfigDiscovery(); c != nil {
		x, err := discover(d, c, extension{ParseContext: ctx, kind: networkFilter}, cc, parse)
		return discoveredNetwork{x}, at(err, "config_discovery")
	}
	f, err := parse(m.GetTypedConfig())
	return f, at(err, "typed_config")
}

func (d *Decoder) networkFactory(ctx *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
	url, err := configType(a)
	if err != nil {
		return nil, err
	}
	for i := range d.NetworkKinds {
		if k := &d.NetworkKinds[i]; slices.Contains(k.TypeURLs, url) {
			if a, err = typed(a); err != nil {
				return nil, err
			}
			return k.Parse(ctx, a)
		}
	}
	return nil, fmt.Errorf("%s is not supported before the last filter", url)
}
