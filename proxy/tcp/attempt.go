package tcp

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/tunnel"
)

// What a connection's filter state and metadata say about its way upstream, and
// what follows a failed attempt.

// destination is where an original_dst cluster leads: to what the connection asked
// for, unless metadata names another address.
func (s *session) destination() netip.AddrPort {
	path := s.cluster.Spec().Original.Metadata
	if path == nil {
		return s.info.Local
	}
	text, _ := filter.Lookup(s.info.Metadata, path).(string)
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a
	}
	return s.info.Local
}

// dialOptions are what the connection adds to the one upstream.
func (s *session) dialOptions() cluster.DialOptions {
	o := cluster.DialOptions{Source: s.info.Remote, Dest: s.info.Local, Origin: s.info.Origin, Greeted: func(p *filter.Peer) { s.info.Upstream.Peer = p }}
	if spec, own := s.host.Cluster().Spec(), s.host.Endpoint().TLVs; spec.TLVs != nil || own != nil {
		o.TLVs = spec.TLVs.TLVs(own, &filter.Info{Conn: s.info, Start: s.info.Start, Remote: s.info.Remote, Metadata: s.info.Metadata})
	}
	if len(s.info.Objects) == 0 {
		return o
	}
	o.ServerName, o.VerifyName = s.info.Text(filter.StateServerName), s.info.Text(filter.StateSANs)
	if text := s.info.Text(filter.StateALPN); text != "" {
		for p := range strings.SplitSeq(text, ",") {
			o.ALPN = append(o.ALPN, strings.TrimSpace(p))
		}
	}
	o.Shared = s.info.Shared
	return o
}

// idle is the timeout of this connection.
func (s *session) idle() time.Duration {
	if text := s.info.Text(filter.StateTCPIdle); text != "" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return time.Duration(n) * time.Millisecond
		}
	}
	return s.p.idle
}

// openTunnel makes one attempt through the proxy at the host.
func (s *session) openTunnel() (cancel func()) {
	o := s.dialOptions()
	o.Greeted = nil // who greets is the one that is tunnelled to
	if s.host.Cluster().Spec().ProxyProtocol == 0 {
		o.Source, o.Dest = netip.AddrPort{}, netip.AddrPort{} // they would keep tunnels from sharing connections
	}
	return s.p.cfg.Tunnel.Open(&tunnel.Target{
		Cluster: s.host.Cluster(), Host: s.host, Limits: s.limits, Dial: o, Info: s.info,
	}, s.tunnelOpened)
}

// tunnelOpened is told how an attempt went.
func (s *session) tunnelOpened(up stream.Conn, err error) {
	if err == nil {
		s.join(up)
		return
	}
	var te *tunnel.Error
	errors.As(err, &te)
	if te.Overflow {
		s.fail(filter.FlagUpstreamOverflow)
		return
	}
	s.info.Upstream.Failure = err.Error()
	s.again(false)
}

// again makes another attempt after one that failed, or gives up.
func (s *session) again(canceled bool) {
	if s.isExpired() || canceled {
		s.fail(filter.FlagUpstreamConnectionFailure)
		return
	}
	s.info.Flags |= filter.FlagUpstreamConnectionFailure
	if s.attempt >= s.p.cfg.Attempts {
		s.fail(filter.FlagUpstreamRetryLimitExceeded)
		return
	}
	s.pick.Avoid = append(s.pick.Avoid, s.host)
	s.pick.Tries = avoidTries
	b := s.p.cfg.Backoff
	if b == nil {
		s.connect()
		return
	}
	most := b.Max
	if d := b.Base << min(s.attempt-1, 32); d > 0 && d < most {
		most = d
	}
	t := time.AfterFunc(time.Duration(rand.Int64N(int64(most)+1)), s.connect)
	s.until(s.attempt*2+1, func() {
		if t.Stop() {
			s.fail(filter.FlagUpstreamConnectionFailure)
		}
	})
}
