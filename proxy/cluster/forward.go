package cluster

import (
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// A DynamicForward cluster sends to the host that a request names. Its hosts are
// found by the authority as requests bring it; there are as many as the DNS
// cache has names, times their ports.

// splitAuthority takes a port off; IPv6 addresses stand in brackets.
func splitAuthority(a string, byDefault uint16) (name string, port uint16, ok bool) {
	name, port = a, byDefault
	if i := strings.LastIndexByte(a, ':'); i > strings.LastIndexByte(a, ']') {
		n, err := strconv.ParseUint(a[i+1:], 10, 16)
		if err != nil {
			return "", 0, false
		}
		name, port = a[:i], uint16(n)
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	return strings.ToLower(name), port, name != "" && port != 0
}

func (c *Cluster) defaultPort() uint16 {
	if c.spec.TLS != nil {
		return 443
	}
	return 80
}

// Resolve finds the addresses for an authority in a DynamicForward cluster. done
// is called later, on another goroutine, when Resolving is returned.
func (c *Cluster) Resolve(authority string, done func(ok bool)) Resolution {
	if m := c.forwards.Load(); m != nil && (*m)[authority] != nil {
		return Resolved
	}
	name, _, ok := splitAuthority(authority, c.defaultPort())
	if !ok {
		return Unresolved
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return Resolved
	}
	return c.cache.resolve(name, done)
}

// pickForward chooses the host that the request names, if it is resolved.
func (c *Cluster) pickForward(p *Pick) (*Host, filter.ResponseFlags) {
	var h *Host
	if m := c.forwards.Load(); m != nil {
		h = (*m)[p.Authority]
	}
	if h == nil {
		if h = c.newForward(p.Authority); h == nil {
			c.stats.UpstreamCxNoneHealthy.Add(1)
			return nil, filter.FlagNoHealthyUpstream
		}
	}
	if !h.used.Load() {
		h.used.Store(true)
	}
	return h, 0
}

// newForward makes the host of an authority, nil: its name is not resolved.
func (c *Cluster) newForward(authority string) *Host {
	name, port, ok := splitAuthority(authority, c.defaultPort())
	if !ok {
		return nil
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(name); err == nil {
		addrs = []netip.Addr{a}
	} else if addrs = c.cache.addresses(name); len(addrs) == 0 {
		return nil
	}
	authority, name = strings.Clone(authority), strings.Clone(name) // they are a request's
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]*Host{}
	if m := c.forwards.Load(); m != nil {
		all = maps.Clone(*m)
	}
	e := forwardEndpoint(name, port, addrs)
	k := c.keyOf(e)
	h := c.byKey[k]
	if h == nil {
		h = newHost(c, k, e)
		if !c.closed {
			c.byKey[k] = h
			c.stats.MembershipChange.Add(1)
			c.stats.MembershipTotal.Store(int64(len(c.byKey)))
			c.stats.MembershipHealthy.Store(int64(len(c.byKey)))
		}
	}
	all[authority] = h
	c.forwards.Store(&all)
	return h
}

func forwardEndpoint(name string, port uint16, addrs []netip.Addr) *Endpoint {
	e := &Endpoint{Name: name, Port: port, Hostname: name, Addr: netip.AddrPortFrom(addrs[0], port)}
	for _, a := range addrs[1:] {
		e.More = append(e.More, netip.AddrPortFrom(a, port))
	}
	return e
}

// moved tells that a name has other addresses; none: it is forgotten.
func (c *Cluster) moved(name string, addrs []netip.Addr) {
	var gone []*Host
	c.mu.Lock()
	for k, h := range c.byKey {
		if k.name != name {
			continue
		}
		if len(addrs) > 0 {
			h.desc.Store(&description{forwardEndpoint(name, k.port, addrs), h.Locality()})
			continue
		}
		gone = append(gone, h)
		delete(c.byKey, k)
	}
	if len(gone) > 0 {
		all := map[string]*Host{}
		for a, h := range *c.forwards.Load() {
			if h.Endpoint().Name != name {
				all[a] = h
			}
		}
		c.forwards.Store(&all)
		c.stats.MembershipChange.Add(1)
		c.stats.MembershipTotal.Store(int64(len(c.byKey)))
		c.stats.MembershipHealthy.Store(int64(len(c.byKey)))
	}
	c.mu.Unlock()
	closeHosts(gone)
}

// uses tells whether a request has gone to that name since the last call.
func (c *Cluster) uses(name string) (used bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, h := range c.byKey {
		if k.name == name && (h.used.Swap(false) || h.stats.RqActive.Load() > 0) {
			used = true
		}
	}
	return used
}

// sweepAddresses forgets hosts that were asked for by their addresses and not lately.
func (c *Cluster) sweepAddresses() {
	c.mu.Lock()
	var gone []string
	for k, h := range c.byKey {
		if _, err := netip.ParseAddr(k.name); err == nil && !h.used.Swap(false) && h.stats.CxActive.Load() == 0 {
			gone = append(gone, k.name)
		}
	}
	if !c.closed {
		c.after(&c.cleanup, 5*time.Minute, c.sweepAddresses)
	}
	c.mu.Unlock()
	for _, name := range gone {
		c.moved(name, nil)
	}
}
