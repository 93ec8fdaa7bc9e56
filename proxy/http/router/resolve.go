package router

import (
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
)

// resolved tells whether the name of the host that a request goes to is
// resolved. If it is not the request waits, or has been answered.
func (r *Router) resolved() bool {
	wake := r.ds.Later(func() {
		if r.phase != waiting {
			return // given up meanwhile
		}
		r.try()
	})
	failed := r.ds.Later(func() {
		if r.phase == waiting {
			r.notResolved("DNS resolution failure", "dns_resolution_failure", filter.FlagDNSResolutionFailed)
		}
	})
	switch r.cluster.Resolve(r.h.Authority, func(ok bool) {
		if ok {
			wake()
		} else {
			failed()
		}
	}) {
	case cluster.Resolved:
		return true
	case cluster.Resolving:
		r.phase = waiting
	case cluster.CacheFull:
		r.notResolved("DNS cache overflow", "dns_cache_overflow", 0)
	case cluster.TooManyPending:
		r.notResolved("Dynamic forward proxy pending request overflow", "dynamic_forward_proxy_pending_request_overflow", 0)
	default:
		r.notResolved("DNS resolution failure", "dns_resolution_failure", filter.FlagDNSResolutionFailed)
	}
	return false
}

func (r *Router) notResolved(text, details string, flags filter.ResponseFlags) {
	r.ds.Info().Upstream = filter.Upstream{Cluster: r.cluster.Name(), Service: r.cluster.Spec().Service}
	r.reply(filter.LocalReply{Status: 503, Body: text, Details: details, Flags: flags})
}

// textAt is the string at a path in dynamic metadata, "" when there is none.
func textAt(m map[string]any, path []string) string {
	var v any = m
	for _, key := range path {
		inner, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = inner[key]
	}
	s, _ := v.(string)
	return s
}
