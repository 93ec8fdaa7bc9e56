package pool

import "github.com/weftmesh/weft/proxy/cluster"

// Connections ahead of requests, as Envoy makes them: so many per request that a
// host has (per upstream), or that the cluster has, to hosts that the balancer will
// choose next (predictive). A multiplexed pool has room enough in any connection, so
// this is about HTTP/1.

// atOnce bounds the connections that one request is the reason for.
const atOnce = 3

// predict makes connections for x, which has not begun, and for who follows.
func predict(x *Exchange, want Want, ratio float64) {
	st := x.Cluster.Stats()
	for i := range atOnce {
		requests := st.UpstreamRqPendingActive.Load() + st.UpstreamRqActive.Load()
		if float64(requests+1)*ratio <= float64(st.UpstreamCxActive.Load()) {
			return
		}
		h := x.Host
		if i > 0 {
			h = x.Cluster.Peek(i - 1)
		}
		if h == nil || !h.Healthy() || !of(x, h, want).ahead(&x.Dial, x.Limits, ratio, 1) {
			return
		}
	}
}

// lend lends x a connection that was idle; false: it is dying.
func (p *Pool) lend(hc *h1Conn, x *Exchange) bool {
	if p.cluster.Spec().HTTP.PreconnectPerHost <= 1 {
		return hc.lend(x)
	}
	o, l := x.Dial, x.Limits // x may be over, and another, when lend returns
	if !hc.lend(x) {
		return false
	}
	p.preconnect(&o, l)
	return true
}

// preconnect makes the connections that the host should have beside those in use.
func (p *Pool) preconnect(o *cluster.DialOptions, l *cluster.Limits) {
	ratio := p.cluster.Spec().HTTP.PreconnectPerHost
	for range atOnce {
		if ratio <= 1 || !p.host.Healthy() || !p.ahead(o, l, ratio, 0) {
			return
		}
	}
}

// ahead makes a connection for nobody yet, with these options, unless there
// are ratio times the requests, with those to come; false: it did not.
func (p *Pool) ahead(o *cluster.DialOptions, l *cluster.Limits, ratio float64, coming int) bool {
	k := keyOf(o)
	p.mu.Lock()
	if p.closed || p.multiplexed() {
		p.mu.Unlock()
		return false
	}
	idle := 0
	for _, hc := range p.idle {
		if hc.key == k {
			idle++
		}
	}
	t := p.queue.of(k)
	requests := t.waiting + t.live - t.dialing - idle + coming
	if float64(requests)*ratio <= float64(t.live) {
		p.queue.forget(k)
		p.mu.Unlock()
		return false
	}
	p.beginDialLocked(k)
	p.mu.Unlock()
	return p.dial(&waiter{key: k, dial: *o, limits: l})
}
