package patch

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
)

// change carries out an operation on a list with an order. picky: the patch names an
// element, which is tells; without, it means the list's beginning or end.
func change[E proto.Message](r *run, p *patch, list []E, picky bool, is func(E) bool) []E {
	fresh := func() E { return proto.Clone(p.value).(E) }
	at := slices.IndexFunc(list, is)
	switch op := p.Operation; {
	case op == model.PatchAdd, op == model.PatchInsertAfter && !picky:
		at = len(list)
	case op == model.PatchInsertFirst, op == model.PatchInsertBefore && !picky:
		at = 0
	case !picky || at < 0:
		return list
	case op == model.PatchRemove:
		r.touch(p)
		return slices.DeleteFunc(list, is)
	case op == model.PatchReplace:
		r.touch(p)
		list[at] = fresh()
		return list
	case op == model.PatchInsertAfter:
		at++
	case op != model.PatchInsertBefore:
		return list
	}
	r.touch(p)
	return slices.Insert(list, at, fresh())
}

// mergeFilter merges a filter of any kind: its name, and what is in its Any.
func (r *run) mergeFilter(p *patch, into proto.Message) {
	name, config := parts(into)
	newName, patched := parts(p.value)
	if *config == nil {
		return // it has no configuration to merge into
	}
	if *patched != nil {
		merged, err := mergeAny(*config, *patched)
		if err != nil {
			r.report(p.finding(CodeMerge, ".patch.value", "does not apply to "+*name+": "+textOf(err), "write the type that the filter has, or REPLACE it"))
			return
		}
		*config = merged
		setConfig(into, merged)
	}
	r.touch(p)
	if *newName != "" {
		*name = *newName
	}
}

// parts are the name and the configuration of a filter of any kind.
func parts(m proto.Message) (name *string, config **anypb.Any) {
	var a *anypb.Any
	switch f := m.(type) {
	case *listenerv3.ListenerFilter:
		name, a = &f.Name, f.GetTypedConfig()
	case *listenerv3.Filter:
		name, a = &f.Name, f.GetTypedConfig()
	case *hcmv3.HttpFilter:
		name, a = &f.Name, f.GetTypedConfig()
	}
	return name, &a
}

func setConfig(m proto.Message, a *anypb.Any) {
	switch f := m.(type) {
	case *listenerv3.ListenerFilter:
		f.ConfigType = &listenerv3.ListenerFilter_TypedConfig{TypedConfig: a}
	case *listenerv3.Filter:
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: a}
	case *hcmv3.HttpFilter:
		f.ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: a}
	}
}

// mergeSocket merges what is in a transport socket.
func (r *run) mergeSocket(p *patch, to, from *corev3.TransportSocket) {
	if to.GetTypedConfig() == nil || from.GetTypedConfig() == nil {
		return
	}
	merged, err := mergeAny(to.GetTypedConfig(), from.GetTypedConfig())
	if err != nil {
		r.report(p.finding(CodeMerge, ".patch.value.transport_socket", "does not apply to "+to.GetName()+": "+textOf(err), "write the type that the transport socket has"))
		return
	}
	r.touch(p)
	to.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: merged}
}
