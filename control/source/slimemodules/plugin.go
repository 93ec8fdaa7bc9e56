package slimemodules

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	api "github.com/weftmesh/weft/api/slime/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/plugin"
)

// plugins is an object of plug-ins in the making.
type plugins struct {
	d   *document.Document
	out *model.EnvoyFilter
}

func (b *plugins) add(field string, p model.EnvoyPatch) {
	b.out.Patches, b.out.Fields = append(b.out.Patches, p), append(b.out.Fields, field)
}

func convertManager(d *document.Document) []model.Object {
	spec, err := document.Into[api.PluginManagerSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	b := &plugins{d, &model.EnvoyFilter{Meta: d.Meta, Priority: spec.Priority, Fields: []string{}}}
	b.out.Selector = either(d, twice{"spec", "workload_labels", "workloadLabels"}, spec.WorkloadLabels, spec.WorkloadLabelsCamel)
	d.CheckLabels("spec.workload_labels", b.out.Selector)
	list, at := spec.Plugin, "spec.plugin"
	if len(spec.Plugins) > 0 {
		list, at = either(d, twice{"spec", "plugin", "plugins"}, spec.Plugin, spec.Plugins), "spec.plugins"
	}
	if len(list) == 0 {
		d.Warn(document.CodeMissing, "spec.plugin", "add one", "is missing: the object has no effect")
	}
	for i := range list {
		if b.usable(document.At(at, i), &list[i]) {
			b.filter(document.At(at, i), &list[i])
		}
	}
	return []model.Object{b.out}
}

// usable judges what both kinds have; false: there is nothing to be done.
func (b *plugins) usable(at string, p *api.Plugin) bool {
	if !p.Enable {
		return false
	}
	if p.Name == "" {
		b.d.Error(document.CodeMissing, at+".name", "name the filter, e.g. envoy.filters.http.buffer", "is missing")
		return false
	}
	if proto := p.Protocol; proto != nil && fmt.Sprint(proto) != "0" && !strings.EqualFold(fmt.Sprint(proto), "HTTP") {
		b.d.Warn(document.CodeIgnored, at+".protocol", "use the routes and policies of the protocol", "plug-ins of protocols that are not HTTP are not carried out: this one has no effect")
		return false
	}
	if p.Rider != nil {
		b.d.Warn(document.CodeIgnored, at+".rider", "write the script as envoy.filters.http.lua, or as a TrafficExtension", "Rider's own API is not carried out: the plug-in has no effect")
		return false
	}
	if p.RawPatch != nil || p.RawPatchSnake != nil {
		b.d.Unsupported(at+".rawPatch", "write an EnvoyFilter", "is about the EnvoyFilter that Slime generates; there is none")
		return false
	}
	return true
}

// context is in which traffic a PluginManager's plug-in stands.
func (b *plugins) context(at string, v any) model.PatchContext {
	switch strings.ToLower(fmt.Sprint(v)) {
	case "<nil>", "0", "outbound":
		return model.SidecarOutbound
	case "1", "inbound":
		return model.SidecarInbound
	case "2", "gateway":
		return model.GatewayContext
	}
	b.d.Invalid(at+".listenerType", "write Outbound, Inbound or Gateway", "%v is no kind of listener", v)
	return model.AnyContext
}

// filter puts a plug-in into chains.
func (b *plugins) filter(at string, p *api.Plugin) {
	context := b.context(at, either(b.d, twice{at, "listenerType", "listener_type"}, p.ListenerType, p.ListenerTypeSnake))
	if p.Wasm != nil {
		w := b.wasm(at+".wasm", p)
		b.out.Modules = append(b.out.Modules, w.Module)
		b.add(at, plugin.In(context, uint32(p.Port), nil, w.Filter()))
		b.add(at, plugin.Config(w.Extension()))
		return
	}
	config := b.typed(at, p, false)
	if config == nil {
		return
	}
	value := map[string]any{"name": p.Name, "typed_config": config}
	if p.DisableOnFilterLevel || p.DisableOnFilterLevelCamel {
		value["disabled"] = true
	}
	b.add(at, plugin.In(context, uint32(p.Port), nil, text(value)))
}

// typed is a plug-in's configuration, with its type; nil: that is not known.
func (b *plugins) typed(at string, p *api.Plugin, route bool) map[string]any {
	settings := p.Settings
	if p.Inline != nil {
		settings = p.Inline.Settings
	}
	url := either(b.d, twice{at, "type_url", "typeUrl"}, p.TypeURL, p.TypeURLCamel)
	if url == "" {
		if s, ok := settings["@type"].(string); ok {
			url = s
		} else {
			url = typeOf(p.Name, route)
		}
	}
	if url == "" {
		b.d.Error(document.CodeMissing, at+".type_url", "write the type of the configuration, e.g. type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "is missing, and the type is not known by the name %q", p.Name)
		return nil
	}
	if !strings.Contains(url, "/") {
		url = "type.googleapis.com/" + url
	}
	out := map[string]any{}
	maps.Copy(out, settings)
	out["@type"] = url
	return out
}

// wasm reads a module.
func (b *plugins) wasm(at string, p *api.Plugin) *plugin.Wasm {
	w := p.Wasm
	secret := either(b.d, twice{at, "imagePullSecretName", "image_pull_secret_name"}, w.ImagePullSecretName, w.ImagePullSecretNameSnake)
	if w.ImagePullSecretContent != "" || w.ImagePullSecretContentSnake != "" {
		b.d.Unsupported(at+".imagePullSecretContent", "put it into a Secret, and name that in imagePullSecretName", "would have a secret stand in the open")
	}
	sum := w.SHA256
	if sum == "nil" { // Slime's word for none
		sum = ""
	}
	out := &plugin.Wasm{
		Name: b.d.Key.Namespace + "." + p.Name, RootID: either(b.d, twice{at, "pluginName", "plugin_name"}, w.PluginName, w.PluginNameSnake),
		Module: plugin.Module(b.d, at+".url", w.URL, sum, secret), FailOpen: true, // a plug-in that fails never breaks the chain
	}
	if len(w.Settings) > 0 {
		out.Config = text(w.Settings)
	}
	return out
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("BUG: slimemodules: " + err.Error())
	}
	return string(raw)
}
