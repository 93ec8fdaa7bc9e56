package cluster

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/weftmesh/weft/proxy/filter"
)

// Discovery finds the hosts of a Discovered cluster, by a protocol that this package does not know.
type Discovery interface {
	// Run works until ctx ends, and tells what it has found by c.Discovered; the cluster is ready after the first call.
	Run(ctx context.Context, c *Cluster)
}

// startDiscovery runs the Spec's Discovery until the cluster is closed.
func (c *Cluster) startDiscovery() {
	ctx, cancel := context.WithCancel(c.m.life)
	if !c.m.work(func(context.Context) { c.spec.Discovery.Run(ctx, c) }) {
		cancel()
		return
	}
	c.mu.Lock()
	c.stop = cancel
	closed := c.closed
	c.mu.Unlock()
	if closed {
		cancel()
	}
}

// Seeds are the hosts that the Spec names, with the addresses that they have now, to be asked with Connect. They are
// not part of the cluster.
func (c *Cluster) Seeds(ctx context.Context) ([]*Host, error) {
	var seeds []*Host
	var failed error
	if c.spec.Endpoints == nil {
		return nil, nil
	}
	for i := range c.spec.Endpoints.Localities {
		l := &c.spec.Endpoints.Localities[i]
		for k := range l.Endpoints {
			e := l.Endpoints[k]
			addrs := []netip.AddrPort{e.Addr}
			if e.Name != "" && !e.Addr.IsValid() {
				a, err := c.m.o.Resolver(ctx, e.Name, c.spec.DNS.Family)
				if err != nil {
					failed = fmt.Errorf("cluster %q: %w", c.spec.Name, err)
				}
				addrs = addrs[:0]
				for _, ip := range a.Addrs {
					addrs = append(addrs, netip.AddrPortFrom(ip, e.Port))
				}
			}
			for _, a := range addrs {
				one := e
				one.Addr = a
				seeds = append(seeds, newHost(c, c.keyOf(&one), &one))
			}
		}
	}
	return seeds, failed
}

// Discovered replaces the hosts of a Discovered cluster; nil only says that none are to be had for now.
func (c *Cluster) Discovered(e *Endpoints) {
	if e == nil {
		c.mu.Lock()
		c.readyLocked()
		c.mu.Unlock()
		return
	}
	closeHosts(c.setEndpoints(e))
}

// pickDiscovered chooses any healthy host: for those who do not know more.
func (c *Cluster) pickDiscovered(p *Pick) (*Host, filter.ResponseFlags) {
	hosts := c.view.Load().hosts
	for i := range hosts {
		if h := hosts[(scale(p.Random, uint64(len(hosts)))+uint64(i))%uint64(len(hosts))]; h.Healthy() {
			return h, 0
		}
	}
	c.stats.UpstreamCxNoneHealthy.Add(1)
	return nil, filter.FlagNoHealthyUpstream
}
