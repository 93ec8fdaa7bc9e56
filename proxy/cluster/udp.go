package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/weftmesh/weft/proxy/transport"
)

// DialUDP makes a UDP socket that is connected to h, without waiting for anything
// but the kernel. source, when valid, is the address of the client, as which the
// socket speaks although it is not this machine's; otherwise the cluster's own
// source address counts.
//
// The caller has acquired Connections from the Limits.
func (c *Cluster) DialUDP(h *Host, source netip.Addr) (*net.UDPConn, error) {
	c.stats.udp.Store(true)
	e := h.Endpoint()
	if !e.Addr.IsValid() {
		return nil, fmt.Errorf("host %s of cluster %q: datagrams need an IP address", h, c.spec.Name)
	}
	d, ok := c.m.o.Dialer.(transport.PacketDialer)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	t := transport.Target{Addr: e.Addr, Source: c.spec.Bind, Source6: c.spec.Bind6, Freebind: c.spec.BindFree}
	if source.IsValid() {
		t.Source, t.Source6, t.Transparent = source, netip.Addr{}, true
	}
	return d.DialUDP(c.m.life, t)
}

// UsesUDP notes that datagrams go to the cluster: from then on it has statistics of them.
func (c *Cluster) UsesUDP() { c.stats.udp.Store(true) }

// HostNamed finds a host by how String prints it, nil: there is none.
func (c *Cluster) HostNamed(name string) (found *Host) {
	c.Hosts(func(h *Host) bool {
		if h.String() == name {
			found = h
		}
		return found == nil
	})
	return found
}
