package patch

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// listenerKinds are the kinds of patches that change listeners.
var listenerKinds = []model.ApplyTo{
	model.ToListener, model.ToListenerFilter, model.ToFilterChain, model.ToNetworkFilter, model.ToHTTPFilter,
}

// Listener patches one listener; nil: it is removed. Routes inside of the listener are
// patched too. ports is that of Routes.
func (s *Set) Listener(context model.PatchContext, l *listenerv3.Listener, ports map[uint32][]uint32) (*listenerv3.Listener, Result) {
	if !s.Touches(context, listenerKinds...) && !s.Touches(context, routeKinds...) {
		return l, Result{}
	}
	return apply(&run{set: s, context: context, ports: ports}, l, (*run).listener)
}

// AddedListeners are those that patches add. Where a patch names no context, these are
// for the way out and gateways.
func (s *Set) AddedListeners(context model.PatchContext) (out []*listenerv3.Listener, touched []model.PatchRef) {
	for _, p := range s.added(model.ToListener, context) {
		out = append(out, proto.Clone(p.value).(*listenerv3.Listener))
		touched = append(touched, p.ref)
	}
	return out, touched
}

// added are the patches that add whole resources in a context.
func (s *Set) added(to model.ApplyTo, context model.PatchContext) []*patch {
	if s == nil {
		return nil
	}
	return slices.DeleteFunc(s.of(to, context), func(p *patch) bool {
		return p.adding() != model.PatchAdd || p.Context == model.AnyContext && context == model.SidecarInbound
	})
}

// adding is the operation, where inserting into what has no order is adding to it.
func (p *patch) adding() model.PatchOperation {
	switch p.Operation {
	case model.PatchInsertAfter, model.PatchInsertBefore, model.PatchInsertFirst:
		switch p.ApplyTo {
		case model.ToHTTPFilter, model.ToNetworkFilter, model.ToHTTPRoute, model.ToListenerFilter:
		default:
			return model.PatchAdd
		}
	}
	return p.Operation
}

func (r *run) listener(l *listenerv3.Listener) *listenerv3.Listener {
	for _, p := range r.patches(model.ToListener) {
		if !p.matchesListener(l) {
			continue
		}
		if !r.whole(p, l) {
			return nil
		}
	}
	r.listenerFilters(l)
	r.chains(l)
	return l
}

// listenerFilters are patched like other lists.
func (r *run) listenerFilters(l *listenerv3.Listener) {
	for _, p := range r.patches(model.ToListenerFilter) {
		if !p.matchesListener(l) {
			continue
		}
		picky := p.Listener != nil && p.Listener.ListenerFilter != ""
		is := func(f *listenerv3.ListenerFilter) bool { return !picky || f.GetName() == p.Listener.ListenerFilter }
		if p.Operation == model.PatchMerge && picky {
			for _, f := range l.ListenerFilters {
				if is(f) {
					r.mergeFilter(p, f)
				}
			}
			continue
		}
		l.ListenerFilters = change(r, p, l.ListenerFilters, picky, is)
	}
}

func (r *run) chains(l *listenerv3.Listener) {
	keep := l.FilterChains[:0]
	for _, fc := range l.FilterChains {
		if len(fc.Filters) == 0 || r.chain(l, fc) {
			keep = append(keep, fc)
		}
	}
	l.FilterChains = keep
	if fc := l.DefaultFilterChain; fc != nil && len(fc.Filters) > 0 && !r.chain(l, fc) {
		l.DefaultFilterChain = nil
	}
	for _, p := range r.patches(model.ToFilterChain) {
		if p.adding() == model.PatchAdd && p.matchesListener(l) {
			r.touch(p)
			l.FilterChains = append(l.FilterChains, proto.Clone(p.value).(*listenerv3.FilterChain))
		}
	}
}

// whole carries out a patch of a message as a whole; false: it is removed.
func (r *run) whole(p *patch, m proto.Message) bool {
	switch {
	case p.Operation == model.PatchRemove:
		r.touch(p)
		return false
	case p.merges():
		r.touch(p)
		merge(m, p.value, p.Operation == model.PatchMergeReplace)
	}
	return true
}

// chain patches one filter chain; false: it is removed.
func (r *run) chain(l *listenerv3.Listener, fc *listenerv3.FilterChain) bool {
	for _, p := range r.patches(model.ToFilterChain) {
		if !p.matchesListener(l) || !p.matchesChain(l, fc) {
			continue
		}
		switch {
		case p.Operation == model.PatchRemove:
			r.touch(p)
			return false
		case p.merges():
			r.mergeChain(p, fc)
		}
	}
	r.networkFilters(l, fc)
	return true
}

// mergeChain merges transport sockets of one name by what is in them; then nothing
// else of the patch counts, as in Istio.
func (r *run) mergeChain(p *patch, fc *listenerv3.FilterChain) {
	from, to := p.value.(*listenerv3.FilterChain).GetTransportSocket(), fc.GetTransportSocket()
	if from == nil || to == nil || from.GetName() != to.GetName() {
		r.touch(p)
		merge(fc, p.value, p.Operation == model.PatchMergeReplace)
		return
	}
	r.mergeSocket(p, to, from)
}

func (r *run) networkFilters(l *listenerv3.Listener, fc *listenerv3.FilterChain) {
	for _, p := range r.patches(model.ToNetworkFilter) {
		if p.Operation != model.PatchMerge && p.matchesListener(l) && p.matchesChain(l, fc) {
			fc.Filters = change(r, p, fc.Filters, p.picksFilter(), p.matchesFilter)
		}
	}
	for _, f := range fc.Filters {
		for _, p := range r.patches(model.ToNetworkFilter) {
			if p.Operation == model.PatchMerge && p.matchesListener(l) && p.matchesChain(l, fc) && p.matchesFilter(f) {
				r.mergeFilter(p, f)
			}
		}
		r.connectionManager(l, fc, f)
	}
}
