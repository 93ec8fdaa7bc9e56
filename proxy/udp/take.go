package udp

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/base/datagram"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
)

// scratch is what taking a batch needs.
type scratch struct {
	sessions []*session // of the datagrams; nil: dropped, or sent already
	w        *datagram.Writer
}

// Take implements filter.Datagrams.
func (p *Proxy) Take(down *datagram.Socket, b *datagram.Batch) {
	sc, ok := p.table.scratches.Get().(*scratch)
	if !ok {
		sc = &scratch{w: datagram.NewWriter(BatchSize)}
	}
	now := monotonic()
	sc.sessions = sc.sessions[:0]
	var last *session
	arrived := 0
	for i := range b.Len() {
		var s *session
		switch peer, local := b.Peer(i), b.Local(i); {
		case b.Truncated(i): // counted by who has read it
		case !p.cfg.PerPacket && last != nil && last.key.peer == peer && last.key.local == local:
			s = last
		default:
			s = p.session(down, peer, local)
		}
		if !b.Truncated(i) {
			arrived += len(b.Payload(i))
		}
		last = s
		sc.sessions = append(sc.sessions, s)
	}
	p.arrived.Add(uint64(arrived))
	for i, s := range sc.sessions {
		if s != nil {
			p.forward(sc, s, b, i, now)
		}
	}
	clear(sc.sessions)
	p.table.scratches.Put(sc)
}

// forward sends what session s gets of a batch, of which datagram i is the first.
func (p *Proxy) forward(sc *scratch, s *session, b *datagram.Batch, i int, now int64) {
	bytes, n := sc.collect(s, b, i)
	if !s.send(sc.w, now) { // it has ended just now: the datagrams begin another
		again := p.session(s.down, s.key.peer, s.key.local)
		for j := i; j < len(sc.sessions); j++ {
			if sc.sessions[j] == s {
				sc.sessions[j] = again
			}
		}
		if again == nil {
			return
		}
		s = again
		sc.collect(s, b, i)
		s.send(sc.w, now)
	}
	s.received(n, bytes)
	for j := i; j < len(sc.sessions); j++ {
		if sc.sessions[j] == s {
			sc.sessions[j] = nil
		}
	}
}

// collect gives a session's datagrams to the Writer.
func (sc *scratch) collect(s *session, b *datagram.Batch, from int) (bytes uint64, n int) {
	for j := from; j < len(sc.sessions); j++ {
		if sc.sessions[j] == s {
			sc.w.Add(nil, b.Payload(j))
			bytes += uint64(len(b.Payload(j)))
			n++
		}
	}
	return bytes, n
}

// session finds the session of a datagram, or begins one; nil: the datagram is dropped.
func (p *Proxy) session(down *datagram.Socket, peer, local netip.AddrPort) *session {
	k := key{peer: peer, local: local}
	var c *cluster.Cluster
	if p.cfg.PerPacket {
		if c = p.cluster(local, peer); c == nil {
			return nil
		}
		if k.host = p.pick(c, peer.Addr(), rand.Uint64()); k.host == nil {
			return nil
		}
	}
	p.table.mu.Lock()
	s := p.table.sessions[k]
	p.table.mu.Unlock()
	switch {
	case s == nil && c == nil:
		if c = p.cluster(local, peer); c == nil {
			return nil
		}
		fallthrough
	case s == nil:
		return p.begin(down, c, k, k.host)
	case p.cfg.PerPacket || s.host.Healthy():
		return s
	}
	// Another host is better, if there is one that is.
	h := p.pick(s.cluster, peer.Addr(), rand.Uint64())
	if h == nil || h == s.host || !h.Healthy() {
		return s
	}
	s.end()
	return p.begin(down, s.cluster, k, h)
}

// cluster is where a new session goes, nil: nowhere.
func (p *Proxy) cluster(local, peer netip.AddrPort) *cluster.Cluster {
	if c := p.clusters.Get(p.cfg.Route(local, peer)); c != nil {
		return c
	}
	p.stats.NoRoute.Add(1)
	return nil
}

// begin begins a session; h nil: with a host to be chosen.
func (p *Proxy) begin(down *datagram.Socket, c *cluster.Cluster, k key, h *cluster.Host) *session {
	if p.draining.Load() {
		return nil
	}
	c.UsesUDP()
	s := p.make(down, c, k)
	limits := c.Limits(cluster.Default)
	if !limits.Acquire(cluster.Connections) {
		p.stats.Total.Add(1)
		s.info.Flags |= filter.FlagUpstreamOverflow
		s.log(filter.EventUDPEnd)
		return nil
	}
	if h == nil {
		h = p.pick(c, k.peer.Addr(), rand.Uint64())
	}
	if h == nil {
		limits.Release(cluster.Connections)
		return nil
	}
	var source netip.Addr
	if p.cfg.OriginalSource {
		source = k.peer.Addr()
	}
	uc, err := h.Cluster().DialUDP(h, source)
	var up *datagram.Socket
	if err == nil {
		if up, err = datagram.New(uc); err != nil {
			uc.Close()
		}
	}
	if err != nil {
		limits.Release(cluster.Connections)
		c.Stats().UDPTxErrors.Add(1)
		return nil
	}
	p.stats.Total.Add(1)
	if !s.run(up, h) {
		return nil
	}
	return s
}

// make makes a session that is not known yet.
func (p *Proxy) make(down *datagram.Socket, c *cluster.Cluster, k key) *session {
	s := &session{p: p, key: k, cluster: c, down: down}
	s.info = filter.ConnInfo{ID: sessionIDs.Add(1), Start: time.Now(), Local: k.local, Remote: k.peer}
	return s
}

// isClosed tells whether a socket was closed here.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
