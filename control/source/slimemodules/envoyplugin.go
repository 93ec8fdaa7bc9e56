package slimemodules

import (
	"strconv"
	"strings"

	api "github.com/weftmesh/weft/api/slime/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func convertEnvoyPlugin(d *document.Document) []model.Object {
	spec, err := document.Into[api.EnvoyPluginSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	b := &plugins{d, &model.EnvoyFilter{Meta: d.Meta, Priority: spec.Priority, Fields: []string{}}}
	if sel := either(d, twice{"spec", "workload_selector", "workloadSelector"}, spec.WorkloadSelector, spec.WorkloadSelectorCamel); sel != nil {
		b.out.Selector = sel.Labels
		d.CheckLabels("spec.workload_selector.labels", sel.Labels)
	}
	list, at := spec.Plugins, "spec.plugins"
	if len(spec.Plugin) > 0 {
		list, at = either(d, twice{"spec", "plugins", "plugin"}, spec.Plugins, spec.Plugin), "spec.plugin"
	}
	for name, n := range map[string]int{"service": len(spec.Service), "user": len(spec.User), "gateway": len(spec.Gateway)} {
		if n > 0 {
			d.Warn(document.CodeIgnored, "spec."+name, "use route, host or listener", "has no effect, in Slime neither")
		}
	}
	targets := b.targets(spec)
	if len(targets) == 0 || len(list) == 0 {
		d.Warn(document.CodeMissing, "spec", "name routes, hosts or listeners, and plugins", "names nothing to configure, or nothing to configure it with: the object has no effect")
	}
	for i := range list {
		if p := &list[i]; b.usable(document.At(at, i), p) {
			b.configure(document.At(at, i), p, targets)
		}
	}
	return []model.Object{b.out}
}

// target is a route, a virtual host, or a whole route configuration.
type target struct {
	to      model.ApplyTo
	context model.PatchContext
	match   *model.RouteConfigMatch
}

// targets are what the object is about.
func (b *plugins) targets(spec api.EnvoyPluginSpec) (out []target) {
	for _, r := range spec.Route {
		h := &model.VirtualHostMatch{}
		host, route, ok := strings.Cut(r, "/")
		if !ok {
			host, route = "", r
		}
		h.Name, h.Route = host, &model.PatchRouteMatch{Name: route}
		out = append(out, target{model.ToHTTPRoute, model.AnyContext, &model.RouteConfigMatch{Host: h}})
	}
	for _, h := range spec.Host {
		out = append(out, target{model.ToVirtualHost, model.AnyContext, &model.RouteConfigMatch{Host: &model.VirtualHostMatch{Name: withPort(h)}}})
	}
	for i, l := range spec.Listener {
		out = append(out, b.listener(document.At("spec.listener", i), &l)...)
	}
	return out
}

// withPort has the name of a virtual host that names no port stand for those of every port.
func withPort(host string) string {
	if strings.Contains(host, ":") || strings.HasPrefix(host, "inbound|") {
		return host
	}
	return host + ":*"
}

// listener are the route configurations of a port, or hosts in them.
func (b *plugins) listener(at string, l *api.Listener) (out []target) {
	if l.Port == 0 {
		b.d.Error(document.CodeMissing, at+".port", "write the port", "is missing")
		return nil
	}
	port := strconv.Itoa(int(l.Port))
	t := target{to: model.ToRouteConfig, match: &model.RouteConfigMatch{}}
	switch {
	case l.Outbound:
		t.context, t.match.Name = model.SidecarOutbound, port
	case l.Sidecar:
		t.context, t.match.Name = model.SidecarInbound, "inbound|"+port+"||"
	default:
		t.context, t.match.Name = model.GatewayContext, "http."+port
		if l.Bind != "" {
			t.match.Name += "." + l.Bind
		}
	}
	if len(l.Hosts) == 0 {
		return []target{t}
	}
	for _, h := range l.Hosts {
		of := t
		m := *t.match
		m.Host = &model.VirtualHostMatch{Name: h}
		if !strings.Contains(h, ":") {
			m.Host.Name = h + ":" + port
		}
		of.to, of.match = model.ToVirtualHost, &m
		out = append(out, of)
	}
	return out
}

// direct are the filters whose settings Slime puts into the route itself.
var direct = map[string]bool{"envoy.filters.http.ratelimit": true, "envoy.filters.http.cors": true, "envoy.ratelimit": true}

// configure configures a plug-in of the targets.
func (b *plugins) configure(at string, p *api.Plugin, targets []target) {
	if p.Wasm != nil {
		b.d.Unsupported(at+".wasm", "use a PluginManager for the module", "modules have no configuration of routes")
		return
	}
	inline := p.Inline
	if inline == nil {
		inline = &api.Inline{Settings: p.Settings}
	}
	if inline.DirectPatch || inline.DirectPatchSnake || direct[p.Name] {
		where := either(b.d, twice{at + ".inline", "fieldPatchTo", "field_patch_to"}, inline.FieldPatchTo, inline.FieldPatchToSnake)
		if where == "" && direct[p.Name] {
			where = "route"
		}
		b.patch(at, where, inline.Settings, targets)
		return
	}
	config := b.typed(at, p, true)
	if config == nil {
		return
	}
	for _, t := range targets {
		b.merge(at, t, map[string]any{"typed_per_filter_config": map[string]any{p.Name: config}})
	}
}

// patch puts settings into a field of the targets; "" and ROOT: into the targets themselves.
func (b *plugins) patch(at, where string, settings map[string]any, targets []target) {
	for _, t := range targets {
		value := settings
		switch {
		case where == "" || where == "ROOT":
		case where == "route" && t.to == model.ToVirtualHost: // has what a route's action has
		case where == "route" && t.to == model.ToRouteConfig:
			b.d.Unsupported(at+".inline", "name hosts of the listener", "a listener as a whole has no such settings: those of its hosts have")
			continue
		default:
			value = map[string]any{where: settings}
		}
		b.merge(at, t, value)
	}
}

func (b *plugins) merge(at string, t target, value map[string]any) {
	b.add(at, model.EnvoyPatch{ApplyTo: t.to, Operation: model.PatchMerge, Context: t.context, Route: t.match, Value: text(value)})
}
