package router

import (
	"math/rand/v2"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
)

// pick asks the load balancer.
func (r *Router) pick() (*cluster.Host, filter.ResponseFlags) {
	info := r.ds.Info()
	p := cluster.Pick{
		Random: rand.Uint64(), Hash: r.hash, HasHash: r.hasHash, Subset: r.Target.Subset,
		Dst: info.Conn.Local,
	}
	if r.cluster.Spec().Type == cluster.DynamicForward {
		p.Authority = r.forwardTo()
	}
	if path := r.cluster.Spec().Original.Metadata; path != nil {
		text, _ := filter.Lookup(info.Metadata, path).(string)
		if a, ok := parseAddrPort(text); ok {
			p.Dst = a
		}
	}
	if name := r.cluster.Spec().Original.Header; name != "" {
		if a, ok := parseAddrPort(r.h.Get(name)); ok {
			p.Dst = a
		}
	}
	if r.retries == 0 {
		p.Override, p.Strict = info.Override.Host, info.Override.Strict
	}
	if r.retry != nil && r.retries > 0 {
		if r.retry.AvoidPrevious {
			p.Avoid, p.Tries = r.tried[:r.nTried], max(r.retry.HostAttempts, 1)
		}
		if len(r.retry.OmitHosts) > 0 {
			p.Omit, p.Tries = r.retry.OmitHosts, max(r.retry.HostAttempts, 1)
		}
		r.avoided.update(r.retry.AvoidPriorities)
		p.SkipPriorities = r.avoided.skip
	}
	if h := r.named(); h != nil {
		return h, 0
	}
	h, flags := r.cluster.Pick(&p)
	r.avoided.picked(&p)
	return h, flags
}

// named is the host that the request names, where the cluster lets it; nil: none.
func (r *Router) named() *cluster.Host {
	lb := &r.cluster.Spec().LB
	if lb.Override == nil {
		return nil
	}
	info := r.ds.Info()
	h := r.wanted.Next(r.cluster, r.h, info.Metadata)
	if h != nil && lb.OverrideKey != nil {
		var v any = h.String()
		for i := len(lb.OverrideKey) - 1; i > 0; i-- {
			v = map[string]any{lb.OverrideKey[i]: v}
		}
		info.SetMetadata(lb.OverrideKey[0], v.(map[string]any))
	}
	return h
}

func (r *Router) remember(h *cluster.Host) {
	if r.nTried < maxTried {
		r.tried[r.nTried] = h
		r.nTried++
	}
}
