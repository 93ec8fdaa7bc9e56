package istio

import (
	"encoding/json"

	extensionspb "istio.io/api/extensions/v1alpha1"
	typepb "istio.io/api/type/v1beta1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/plugin"
)

// jwtFilters, authzFilters and statsFilters are what the phases of plug-ins stand before: a phase's own and those of
// the phases after it.
var (
	statsFilters = []string{"istio.stats"}
	authzFilters = append([]string{"envoy.filters.http.rbac", "envoy.filters.http.ext_authz"}, statsFilters...)
	jwtFilters   = append([]string{"envoy.filters.http.jwt_authn", "istio_authn"}, authzFilters...)
)

// extension is a WasmPlugin or TrafficExtension in the making.
type extension struct {
	d   *document.Document
	out *model.EnvoyFilter
	// before are the filters that its phase stands before.
	before []string
}

func newExtension(d *document.Document, phase string, priority int32) *extension {
	e := &extension{d: d, out: &model.EnvoyFilter{Meta: d.Meta, Priority: -priority, Fields: []string{}}} // the higher one stands first
	switch phase {
	case "AUTHN":
		e.before, e.out.Phase = jwtFilters, model.PhaseAuthn
	case "AUTHZ":
		e.before, e.out.Phase = authzFilters, model.PhaseAuthz
	case "STATS":
		e.before, e.out.Phase = statsFilters, model.PhaseStats
	}
	return e
}

// selects reads whom it is for.
func (e *extension) selects(labels map[string]string, refs []*typepb.PolicyTargetReference) {
	if len(labels) > 0 {
		e.out.Selector = labels
		e.d.CheckLabels("spec.selector.matchLabels", labels)
	}
	if len(refs) > 0 && len(labels) > 0 {
		e.d.Invalid("spec.targetRefs", "keep one", "excludes selector")
	}
	e.out.Gateways = targetGateways(e.d, "spec.targetRefs", refs)
}

// trafficMatch is one of spec.match: in which traffic.
type trafficMatch struct {
	mode  typepb.WorkloadMode
	ports []*typepb.PortSelector
}

// put puts a filter into the chains that the selectors name; none: all.
func (e *extension) put(list []trafficMatch, value string) {
	if len(list) == 0 {
		list = []trafficMatch{{}}
	}
	for i, s := range list {
		var contexts []model.PatchContext
		switch s.mode {
		case typepb.WorkloadMode_CLIENT:
			contexts = []model.PatchContext{model.SidecarOutbound}
		case typepb.WorkloadMode_SERVER:
			contexts = []model.PatchContext{model.SidecarInbound, model.GatewayContext}
		default:
			contexts = []model.PatchContext{model.AnyContext}
		}
		ports := []uint32{0}
		if len(s.ports) > 0 {
			ports = nil
		}
		for j, p := range s.ports {
			if n := p.GetNumber(); n == 0 || n > 65535 {
				e.d.Invalid(document.At("spec.match", i)+document.At(".ports", j)+".number", "write 1 to 65535", "%d is no port", n)
			}
			ports = append(ports, p.GetNumber())
		}
		for _, c := range contexts {
			for _, port := range ports {
				e.add("spec", plugin.In(c, port, e.before, value))
			}
		}
	}
}

func (e *extension) add(field string, p model.EnvoyPatch) {
	e.out.Patches, e.out.Fields = append(e.out.Patches, p), append(e.out.Fields, field)
}

// module is what both kinds say of a WebAssembly module.
type module interface {
	GetUrl() string
	GetSha256() string
	GetImagePullPolicy() extensionspb.PullPolicy
	GetImagePullSecret() string
	GetVerificationKey() string
	GetPluginName() string
	GetFailStrategy() extensionspb.FailStrategy
	GetVmConfig() *extensionspb.VmConfig
	GetType() extensionspb.PluginType
}

// wasm reads a module whose fields are below at. config is its plugin_config as written.
func (e *extension) wasm(at string, m module, config any) *plugin.Wasm {
	w := &plugin.Wasm{
		Name: e.d.Key.Namespace + "." + e.d.Key.Name, RootID: m.GetPluginName(),
		Module: plugin.Module(e.d, at+".url", m.GetUrl(), m.GetSha256(), m.GetImagePullSecret()), Env: map[string]string{},
		FailOpen: m.GetFailStrategy() == extensionspb.FailStrategy_FAIL_OPEN, Reload: m.GetFailStrategy() == extensionspb.FailStrategy_FAIL_RELOAD,
	}
	w.Module.Again = m.GetImagePullPolicy() == extensionspb.PullPolicy_Always
	if m.GetVerificationKey() != "" {
		e.d.Warn(document.CodeIgnored, at+".verificationKey", "use sha256", "has no effect, in Istio neither")
	}
	if m.GetType() == extensionspb.PluginType_NETWORK {
		e.d.Unsupported(at+".type", "write HTTP", "plug-ins of connections are not carried out by Weft")
	}
	for i, v := range m.GetVmConfig().GetEnv() {
		field := document.At(at+".vmConfig.env", i)
		switch {
		case v.GetName() == "":
			e.d.Error(document.CodeMissing, field+".name", "name the variable", "is missing")
		case v.GetValueFrom() == extensionspb.EnvValueSource_HOST:
			w.HostEnv = append(w.HostEnv, v.GetName())
		default:
			w.Env[v.GetName()] = v.GetValue()
		}
	}
	if config != nil {
		raw, err := json.Marshal(config)
		if err != nil {
			e.d.Invalid(at+".pluginConfig", "", "cannot be read: %v", err)
		}
		w.Config = string(raw)
	}
	return w
}

// fetched adds a module's filter and configuration.
func (e *extension) fetched(list []trafficMatch, w *plugin.Wasm) {
	e.out.Modules = []model.ModuleRef{w.Module}
	e.put(list, w.Filter())
	e.add("spec", plugin.Config(w.Extension()))
}

func convertWasmPlugin(d *document.Document) []model.Object {
	spec := &extensionspb.WasmPlugin{}
	if !d.Message("spec", d.Spec(), spec) {
		return nil
	}
	e := newExtension(d, spec.GetPhase().String(), spec.GetPriority().GetValue())
	refs := spec.GetTargetRefs()
	if one := spec.GetTargetRef(); one != nil {
		refs = append(refs, one)
	}
	e.selects(spec.GetSelector().GetMatchLabels(), refs)
	var list []trafficMatch
	for _, m := range spec.GetMatch() {
		list = append(list, trafficMatch{m.GetMode(), m.GetPorts()})
	}
	e.fetched(list, e.wasm("spec", spec, d.Spec()["pluginConfig"]))
	return []model.Object{e.out}
}

func convertTrafficExtension(d *document.Document) []model.Object {
	spec := &extensionspb.TrafficExtension{}
	if !d.Message("spec", d.Spec(), spec) {
		return nil
	}
	e := newExtension(d, spec.GetPhase().String(), spec.GetPriority().GetValue())
	e.selects(spec.GetSelector().GetMatchLabels(), spec.GetTargetRefs())
	var list []trafficMatch
	for _, m := range spec.GetMatch() {
		list = append(list, trafficMatch{m.GetMode(), m.GetPorts()})
	}
	switch {
	case spec.GetWasm() != nil:
		raw, _ := d.Spec()["wasm"].(map[string]any)
		e.fetched(list, e.wasm("spec.wasm", spec.GetWasm(), raw["pluginConfig"]))
	case spec.GetLua().GetInlineCode() != "":
		e.put(list, plugin.Lua(d.Key.Namespace+"."+d.Key.Name, spec.GetLua().GetInlineCode()))
	case spec.GetLua() != nil:
		d.Error(document.CodeMissing, "spec.lua.inlineCode", "write the script", "is missing")
	default:
		d.Error(document.CodeMissing, "spec", "write wasm or lua", "names no plug-in")
	}
	return []model.Object{e.out}
}
