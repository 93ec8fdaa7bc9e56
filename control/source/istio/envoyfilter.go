package istio

import (
	"encoding/json"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// maxVersionPattern bounds the regular expression of a proxy's version (Istio's bound).
const maxVersionPattern = 1024

func convertEnvoyFilter(d *document.Document) []model.Object {
	ef := &networkingpb.EnvoyFilter{}
	if !d.Message("spec", d.Spec(), ef) {
		return nil
	}
	out := &model.EnvoyFilter{Meta: d.Meta, Priority: ef.GetPriority()}
	if labels := ef.GetWorkloadSelector().GetLabels(); len(labels) > 0 {
		out.Selector = labels
		d.CheckLabels("spec.workloadSelector.labels", labels)
	}
	if len(ef.GetTargetRefs()) > 0 && out.Selector != nil {
		d.Invalid("spec.targetRefs", "keep one", "excludes workloadSelector")
	}
	out.Gateways = targetGateways(d, "spec.targetRefs", ef.GetTargetRefs())
	if len(ef.GetConfigPatches()) == 0 {
		d.Warn(document.CodeMissing, "spec.configPatches", "add a patch", "is missing: the object has no effect")
	}
	raw, _ := d.Spec()["configPatches"].([]any)
	for i, cp := range ef.GetConfigPatches() {
		at := document.At("spec.configPatches", i)
		if cp.GetMatch().GetContext() == networkingpb.EnvoyFilter_WAYPOINT || cp.GetMatch().GetWaypoint() != nil {
			d.Warn(document.CodeIgnored, at+".match", "", "is for waypoints, which Weft does not have: the patch has no effect")
			out.Patches = append(out.Patches, model.EnvoyPatch{ApplyTo: model.ApplyTo(cp.GetApplyTo().String()), Operation: model.PatchRemove, Context: "WAYPOINT"})
			continue
		}
		p := envoyPatch(d, at, cp)
		if i < len(raw) {
			p.Value = patchValue(raw[i])
		}
		if p.Value == "" && p.Operation != model.PatchRemove {
			d.Error(document.CodeMissing, at+".patch.value", "write Envoy's message, e.g. name and typed_config", "is missing")
		}
		out.Patches = append(out.Patches, p)
	}
	return []model.Object{out}
}

// patchValue is the value as it is written: numbers keep their precision.
func patchValue(configPatch any) string {
	cp, _ := configPatch.(map[string]any)
	patch, _ := cp["patch"].(map[string]any)
	value, ok := patch["value"]
	raw, err := json.Marshal(value)
	if !ok || err != nil {
		return ""
	}
	return string(raw)
}

func envoyPatch(d *document.Document, at string, cp *networkingpb.EnvoyFilter_EnvoyConfigObjectPatch) model.EnvoyPatch {
	p := model.EnvoyPatch{
		ApplyTo:   model.ApplyTo(cp.GetApplyTo().String()),
		Operation: model.PatchOperation(cp.GetPatch().GetOperation().String()),
		Context:   model.PatchContext(cp.GetMatch().GetContext().String()),
	}
	if cp.GetApplyTo() == networkingpb.EnvoyFilter_INVALID {
		d.Error(document.CodeMissing, at+".applyTo", "write e.g. HTTP_FILTER", "is missing")
	}
	if cp.GetPatch().GetOperation() == networkingpb.EnvoyFilter_Patch_INVALID {
		d.Error(document.CodeMissing, at+".patch.operation", "write e.g. MERGE or INSERT_BEFORE", "is missing")
	}
	if cp.GetApplyTo() == networkingpb.EnvoyFilter_BOOTSTRAP {
		if op := cp.GetPatch().GetOperation(); op != networkingpb.EnvoyFilter_Patch_MERGE && op != networkingpb.EnvoyFilter_Patch_INVALID {
			d.Invalid(at+".patch.operation", "write MERGE", "%s does not go with applyTo BOOTSTRAP", op)
		}
		if cp.GetMatch().GetObjectTypes() != nil {
			d.Invalid(at+".match", "match by context or proxy", "a proxy has one bootstrap: there is nothing to match in it")
		}
	}
	proxyMatch(d, at+".match.proxy", &p, cp.GetMatch().GetProxy())
	kind := ""
	switch m := cp.GetMatch().GetObjectTypes().(type) {
	case *networkingpb.EnvoyFilter_EnvoyConfigObjectMatch_Listener:
		kind, p.Listener = "listener", listenerMatch(d, at+".match.listener", p.ApplyTo, m.Listener)
	case *networkingpb.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration:
		kind, p.Route = "routeConfiguration", routeMatch(m.RouteConfiguration)
	case *networkingpb.EnvoyFilter_EnvoyConfigObjectMatch_Cluster:
		kind, p.Cluster = "cluster", &model.ClusterMatch{
			Name: m.Cluster.GetName(), Service: m.Cluster.GetService(), Subset: m.Cluster.GetSubset(), Port: m.Cluster.GetPortNumber(),
		}
	}
	if want := matchKinds[p.ApplyTo]; want != "" && kind != "" && kind != want {
		d.Invalid(at+".match."+kind, "match by "+want, "does not go with applyTo %s", p.ApplyTo)
	}
	return p
}

// matchKinds say by what each kind of patch may match.
var matchKinds = map[model.ApplyTo]string{
	model.ToListener: "listener", model.ToListenerFilter: "listener", model.ToFilterChain: "listener",
	model.ToNetworkFilter: "listener", model.ToHTTPFilter: "listener",
	model.ToRouteConfig: "routeConfiguration", model.ToVirtualHost: "routeConfiguration", model.ToHTTPRoute: "routeConfiguration",
	model.ToCluster: "cluster",
}

func proxyMatch(d *document.Document, at string, p *model.EnvoyPatch, m *networkingpb.EnvoyFilter_ProxyMatch) {
	p.Metadata = m.GetMetadata()
	v := m.GetProxyVersion()
	switch {
	case v == "":
		return
	case len(v) > maxVersionPattern:
		d.Invalid(at+".proxyVersion", `write e.g. '^1\.31.*'`, "is longer than %d characters", maxVersionPattern)
		return
	}
	d.Regex(at+".proxyVersion", v)
	p.ProxyVersion = v
}

func listenerMatch(d *document.Document, at string, to model.ApplyTo, m *networkingpb.EnvoyFilter_ListenerMatch) *model.ListenerMatch {
	out := &model.ListenerMatch{Name: m.GetName(), Port: m.GetPortNumber(), ListenerFilter: m.GetListenerFilter()}
	c := m.GetFilterChain()
	if c == nil {
		return out
	}
	out.Chain = &model.ChainMatch{Name: c.GetName(), SNI: c.GetSni(), TransportProtocol: c.GetTransportProtocol(), Port: c.GetDestinationPort()}
	if list := c.GetApplicationProtocols(); list != "" {
		out.Chain.ApplicationProtocols = strings.Split(list, ",")
	}
	f := c.GetFilter()
	if f == nil {
		return out
	}
	field := at + ".filterChain.filter"
	if to == model.ToListener || to == model.ToFilterChain {
		d.Warn(document.CodeIgnored, field, "remove it", "has no effect with applyTo %s", to)
	}
	if f.GetName() == "" {
		d.Error(document.CodeMissing, field+".name", "name the network filter", "is missing")
	}
	out.Chain.Filter = new(f.GetName())
	s := f.GetSubFilter()
	switch {
	case s == nil:
		return out
	case to != model.ToHTTPFilter:
		d.Invalid(field+".subFilter", "remove it", "goes with applyTo HTTP_FILTER only")
	case f.GetName() != connectionManager:
		d.Invalid(field+".name", "write "+connectionManager, "must be the HTTP connection manager, which has subFilters")
	case s.GetName() == "":
		d.Error(document.CodeMissing, field+".subFilter.name", "name the HTTP filter", "is missing")
	}
	out.Chain.SubFilter = new(s.GetName())
	return out
}

const connectionManager = "envoy.filters.network.http_connection_manager"

func routeMatch(m *networkingpb.EnvoyFilter_RouteConfigurationMatch) *model.RouteConfigMatch {
	out := &model.RouteConfigMatch{Name: m.GetName(), Port: m.GetPortNumber(), PortName: m.GetPortName(), Gateway: m.GetGateway()}
	vh := m.GetVhost()
	if vh == nil {
		return out
	}
	out.Host = &model.VirtualHostMatch{Name: vh.GetName(), Domain: vh.GetDomainName()}
	if r := vh.GetRoute(); r != nil {
		out.Host.Route = &model.PatchRouteMatch{Name: r.GetName()}
		if r.GetAction() != networkingpb.EnvoyFilter_RouteConfigurationMatch_RouteMatch_ANY {
			out.Host.Route.Action = r.GetAction().String()
		}
	}
	return out
}
