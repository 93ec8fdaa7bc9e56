package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/weftmesh/weft/base/backoff"
)

// lookup is one name of a DNS cluster, guarded by the cluster's mu.
type lookup struct {
	name    string
	addrs   []netip.Addr
	tried   bool // there has been an answer or a failure
	failing backoff.Backoff
	timer   *time.Timer
}

// resolveTimeout bounds one query.
const resolveTimeout = 5 * time.Second

// startDNS begins to resolve the names of the Spec.
func (c *Cluster) startDNS() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = map[string]*lookup{}
	refresh := c.refresh()
	for _, l := range c.spec.Endpoints.Localities {
		for _, e := range l.Endpoints {
			if e.Name == "" || c.names[e.Name] != nil {
				continue
			}
			n := &lookup{name: e.Name, failing: backoff.Backoff{Min: c.spec.DNS.FailureBase, Max: c.spec.DNS.FailureMax}}
			if n.failing.Min <= 0 {
				n.failing.Min = refresh
			}
			n.failing.Max = max(n.failing.Max, n.failing.Min)
			n.addrs, n.tried = c.known[e.Name], c.known[e.Name] != nil
			c.names[e.Name] = n
			c.m.post(func() { c.resolve(n) })
		}
	}
	_ = c.applyNamesLocked() // at once when nothing is left to resolve
}

func (c *Cluster) refresh() time.Duration {
	if c.spec.DNS.Refresh > 0 {
		return c.spec.DNS.Refresh
	}
	return 5 * time.Second
}

// resolve asks for a name. On Run's goroutine; the query has its own.
func (c *Cluster) resolve(n *lookup) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return
	}
	c.stats.UpdateAttempt.Add(1)
	c.m.work(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
		a, err := c.m.o.Resolver(ctx, n.name, c.spec.DNS.Family)
		c.m.post(func() { c.resolved(n, a, err) })
	})
}

// resolved takes an answer. A failure changes nothing but the time of the next query.
func (c *Cluster) resolved(n *lookup, a Answer, err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	wait := c.refresh()
	first := !n.tried
	n.tried = true
	var gone []*Host
	if err != nil {
		c.stats.UpdateFailure.Add(1)
		if c.m.o.Log != nil && n.failing.Attempts() == 0 {
			c.m.o.Log.Warn("name could not be resolved; the last known addresses stay in use",
				"cluster", c.spec.Name, "name", n.name, "error", err)
		}
		wait = n.failing.Next()
	} else {
		c.stats.UpdateSuccess.Add(1)
		n.failing.Reset()
		if a.TTL > 0 && c.spec.DNS.RespectTTL {
			wait = a.TTL
		}
		addrs := filterFamily(a.Addrs, c.spec.DNS.Family)
		if c.spec.Type == StrictDNS {
			slices.SortFunc(addrs, netip.Addr.Compare) // servers rotate their answers
		}
		if first || !slices.Equal(addrs, n.addrs) {
			n.addrs = addrs
			gone = c.applyNamesLocked()
		}
	}
	if first && err != nil {
		gone = c.applyNamesLocked() // for readiness
	}
	if j := c.spec.DNS.Jitter; j > 0 {
		wait += rand.N(j) //nolint:gosec // jitter
	}
	c.after(&n.timer, wait, func() { c.resolve(n) })
	c.mu.Unlock()
	closeHosts(gone)
}

// applyNamesLocked makes endpoints of what all names resolve to, once each has been tried.
func (c *Cluster) applyNamesLocked() []*Host {
	for _, n := range c.names {
		if !n.tried {
			return nil
		}
	}
	spec := c.spec.Endpoints
	out := *spec
	out.Localities = slices.Clone(spec.Localities)
	for i := range out.Localities {
		var eps []Endpoint
		for _, e := range out.Localities[i].Endpoints {
			if e.Name == "" {
				eps = append(eps, e)
				continue
			}
			if e.Hostname == "" {
				e.Hostname = e.Name
			}
			eps = append(eps, c.expand(e, c.names[e.Name].addrs)...)
		}
		out.Localities[i].Endpoints = eps
	}
	return c.setEndpointsLocked(&out)
}

// expand makes the endpoints of a name: one per address, or for a logical name
// one with all of them.
func (c *Cluster) expand(e Endpoint, addrs []netip.Addr) (out []Endpoint) {
	for _, a := range addrs {
		at := netip.AddrPortFrom(a, e.Port)
		if c.spec.Type == LogicalDNS && len(out) > 0 {
			out[0].More = append(out[0].More, at)
			continue
		}
		e.Addr = at
		out = append(out, e)
	}
	return out
}

// filterFamily leaves the addresses that the family asks for, in their order.
func filterFamily(addrs []netip.Addr, f Family) (out []netip.Addr) {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if slices.Contains(v4, a) || slices.Contains(v6, a) {
			continue
		}
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	switch f {
	case FamilyV4:
		return v4
	case FamilyV6:
		return v6
	case FamilyV4Preferred:
		if len(v4) > 0 {
			return v4
		}
		return v6
	case FamilyAll:
		return append(v6, v4...)
	default:
		if len(v6) > 0 {
			return v6
		}
		return v4
	}
}

// checkDNS checks the endpoints of a DNS cluster.
func checkDNS(s *Spec, m *Manager) error {
	if m.o.Resolver == nil {
		return errors.New("there is no resolver for its names")
	}
	if s.Endpoints == nil {
		return errors.New("load_assignment: a DNS cluster needs its names there")
	}
	n := 0
	for _, l := range s.Endpoints.Localities {
		for _, e := range l.Endpoints {
			n++
			if s.Type == LogicalDNS && e.Name == "" {
				return fmt.Errorf("load_assignment: endpoint %s of a LOGICAL_DNS cluster is not a name", e.target())
			}
		}
	}
	if s.Type == LogicalDNS && n != 1 {
		return fmt.Errorf("load_assignment: a LOGICAL_DNS cluster has exactly one endpoint, not %d", n)
	}
	return nil
}

// inherit takes over what a former version of the cluster has resolved, so that
// a change of other settings does not wait for the names.
func (c *Cluster) inherit(before *Cluster) {
	if before.spec.Type != c.spec.Type || before.spec.DNS.Family != c.spec.DNS.Family {
		return
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	c.known = map[string][]netip.Addr{}
	for name, n := range before.names {
		if n.tried {
			c.known[name] = n.addrs
		}
	}
}
