package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	extv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
)

// moduleOf is the module that a patch's configuration is to have, by the URL in it; not ok: none.
func moduleOf(r model.PatchRef) (model.ModuleRef, bool) {
	at := r.Filter.Field(r.Index)
	for _, m := range r.Filter.Modules {
		if r.Filter.Fields != nil && (m.Field == at || model.Parent(m.Field) == at || model.Parent(model.Parent(m.Field)) == at) {
			return m, true
		}
	}
	return model.ModuleRef{}, false
}

// complete puts the module that was fetched into a plug-in's configuration. Where there is none yet, requests go on
// without the plug-in, or are denied, as it says: a chain is never broken.
func complete(m *corev3.TypedExtensionConfig, x *scope.Index, ref model.ModuleRef) {
	w := &wasmv3.Wasm{}
	if m.GetTypedConfig().UnmarshalTo(w) != nil {
		return
	}
	var as proto.Message = w
	if mod := x.Module(ref); mod != nil {
		w.GetConfig().GetVmConfig().Code = &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{
			Local: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: mod.Code}},
		}}
	} else {
		pass := &rbacfilterv3.RBAC{}
		if w.GetConfig().GetFailurePolicy() != extv3.FailurePolicy_FAIL_OPEN {
			pass.Rules = &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW}
		}
		as = pass
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(as)
	if err != nil {
		panic("BUG: translate: a plug-in: " + err.Error())
	}
	m.TypedConfig = &anypb.Any{TypeUrl: "type.googleapis.com/" + string(as.ProtoReflect().Descriptor().FullName()), Value: raw}
}
