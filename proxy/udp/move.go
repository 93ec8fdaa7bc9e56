package udp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/base/datagram"
	"github.com/weftmesh/weft/proxy/cluster"
)

// movedSession is a session as another process is told of it. The cluster's name
// and the host's address are looked up there.
type movedSession struct {
	Peer    netip.AddrPort `json:"peer"`
	Local   netip.AddrPort `json:"local"`
	Cluster string         `json:"cluster"`
	Host    string         `json:"host"`
	Start   time.Time      `json:"start"`
	// Bytes and datagrams, for the access log.
	Counts [5]uint64 `json:"counts"`
}

// Move implements filter.Datagrams.
func (p *Proxy) Move(yield func(state []byte, upstream *net.UDPConn)) {
	t := p.table
	t.mu.Lock()
	all := make([]*session, 0, len(t.sessions))
	for _, s := range t.sessions {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		if !s.leave() {
			continue
		}
		s.moved.Store(true)
		s.up.Interrupt()
		<-s.quiet
		state, err := json.Marshal(s.state())
		if err == nil {
			yield(state, s.up.Conn())
		}
		_ = s.up.Close()
		s.uncount()
	}
}

func (s *session) state() movedSession {
	return movedSession{
		Peer: s.key.peer, Local: s.key.local, Cluster: s.cluster.Name(), Host: s.host.String(), Start: s.info.Start,
		Counts: [...]uint64{s.rxBytes.Load(), s.rxDatagrams.Load(), s.txBytes.Load(), s.txDatagrams.Load(), s.txErrors.Load()},
	}
}

// Adopt implements filter.Datagrams.
func (p *Proxy) Adopt(down *datagram.Socket, state []byte, upstream *net.UDPConn) error {
	err := p.adopt(down, state, upstream)
	if err != nil {
		_ = upstream.Close()
	}
	return err
}

func (p *Proxy) adopt(down *datagram.Socket, state []byte, upstream *net.UDPConn) error {
	var m movedSession
	if err := json.Unmarshal(state, &m); err != nil {
		return err
	}
	c := p.clusters.Get(m.Cluster)
	if c == nil {
		return fmt.Errorf("session of %s: there is no cluster %q any more", m.Peer, m.Cluster)
	}
	h := c.HostNamed(m.Host)
	if h == nil {
		return fmt.Errorf("session of %s: %s is not part of cluster %q any more", m.Peer, m.Host, m.Cluster)
	}
	up, err := datagram.New(upstream)
	if err != nil {
		return err
	}
	c.UsesUDP()
	if !c.Limits(cluster.Default).Acquire(cluster.Connections) {
		return errors.New("there are as many as the cluster's max_connections")
	}
	k := key{peer: m.Peer, local: m.Local}
	if p.cfg.PerPacket {
		k.host = h
	}
	s := p.make(down, c, k)
	s.info.Start = m.Start
	s.rxBytes.Store(m.Counts[0])
	s.rxDatagrams.Store(m.Counts[1])
	s.txBytes.Store(m.Counts[2])
	s.txDatagrams.Store(m.Counts[3])
	s.txErrors.Store(m.Counts[4])
	s.run(up, h)
	return nil
}
