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
	switch r.cluster.Resolve(r.forwardTo(), func(ok bool) {
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

// forwardTo is the authority of the host to go to.
func (r *Router) forwardTo() string {
	if to := r.ds.Info().ForwardTo; to != "" {
		return to
	}
	return r.h.Authority
}

func (r *Router) notResolved(text, details string, flags filter.ResponseFlags) {
	r.ds.Info().Upstream = filter.Upstream{Cluster: r.cluster.Name(), Service: r.cluster.Spec().Service}
	r.reply(filter.LocalReply{Status: 503, Body: text, Details: details, Flags: flags})
}
