package patch

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// connectionManager is the name of the network filter that holds HTTP filters.
const connectionManager = "envoy.filters.network.http_connection_manager"

// connectionManager patches the HTTP filters and the routes that are in an HTTP
// connection manager.
func (r *run) connectionManager(l *listenerv3.Listener, fc *listenerv3.FilterChain, f *listenerv3.Filter) {
	filters := r.patches(model.ToHTTPFilter)
	if f.GetName() != connectionManager || f.GetTypedConfig() == nil || len(filters) == 0 && !r.set.Touches(r.context, routeKinds...) {
		return
	}
	m := &hcmv3.HttpConnectionManager{}
	if err := f.GetTypedConfig().UnmarshalTo(m); err != nil {
		return // a patch has put something else there
	}
	before := r.changes
	if rc := m.GetRouteConfig(); rc != nil {
		r.routes(rc)
	}
	r.httpFilters(l, fc, f, m, filters)
	if r.changes == before {
		return
	}
	if a, err := pack(f.GetTypedConfig().GetTypeUrl(), m); err == nil {
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: a}
	}
}

// httpFilters applies the patches of HTTP filters: first those that change which there
// are, then those that change what is in them.
func (r *run) httpFilters(l *listenerv3.Listener, fc *listenerv3.FilterChain, f *listenerv3.Filter, m *hcmv3.HttpConnectionManager, list []*patch) {
	matches := func(p *patch) bool { return p.matchesListener(l) && p.matchesChain(l, fc) && p.matchesFilter(f) }
	for _, p := range list {
		if p.Operation != model.PatchMerge && matches(p) {
			if p.Before != nil {
				m.HttpFilters = r.before(p, m.HttpFilters)
				continue
			}
			m.HttpFilters = change(r, p, m.HttpFilters, p.picksSubFilter(), p.matchesSubFilter)
		}
	}
	for _, hf := range m.HttpFilters {
		for _, p := range list {
			if p.Operation == model.PatchMerge && matches(p) && p.matchesSubFilter(hf) {
				r.mergeFilter(p, hf)
			}
		}
	}
}

// before inserts an HTTP filter before the first of those that the patch names, or else before the last one.
func (r *run) before(p *patch, list []*hcmv3.HttpFilter) []*hcmv3.HttpFilter {
	at := slices.IndexFunc(list, func(f *hcmv3.HttpFilter) bool { return slices.Contains(p.Before, f.GetName()) })
	if at < 0 {
		at = max(0, len(list)-1)
	}
	r.touch(p)
	return slices.Insert(list, at, proto.Clone(p.value).(*hcmv3.HttpFilter))
}
