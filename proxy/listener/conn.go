package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

// linger is how long a closed downstream connection still takes what the
// client sends (Envoy's delayed close).
const linger = time.Second

const defaultHandshakeTimeout = 15 * time.Second

// arrival is a connection on its way to a terminal filter. It lives on the
// goroutine that the accept loop started for it.
type arrival struct {
	m     *Manager
	l     *active
	inner *Inner // how it came to an internal listener; nil: to a socket
	nc    net.Conn
	raw   net.Conn // the socket, also when nc has become TLS
	facts Facts
	info  *filter.ConnInfo
	chain *chain
	t     *tracked
	seat  seat
	// inspectors are those of the listener, as they are now.
	inspectors []Inspector
	// deadline of all listener filters together.
	deadline time.Time
	metadata map[string]any
	tlvs     []filter.TLV // of its PROXY header
	resumed  *Moved       // as another process knew it; nil: it is new
	moved    bool         // another process has it
	handed   bool         // a host has the socket, and says when nothing is left to send
	ends     atomic.Int32 // of two: who used it has left, and nothing is left to send
}

// serve brings one accepted connection to its terminal filter.
func (m *Manager) serve(ctx context.Context, a *arrival) {
	// Statistics go to the listener that chooses the chain, as with Envoy.
	ok := a.resolve()
	restored := ok && a.describe()
	ok = ok && a.unwrap(ctx, &restored)
	if ok && restored && a.handOff() {
		ok = a.resolve() && a.unwrap(ctx, &restored)
	}
	stats := a.l.stats
	stats.PreActive.Add(1)
	ok = ok && a.inspect(ctx)
	stats.PreActive.Add(-1)
	if !ok || !a.choose() {
		a.nc.Close()
		a.seat.free()
		return
	}
	if !a.handshake(ctx) || !a.greet(ctx) {
		a.nc.Close()
		a.leave()
		return
	}
	a.hand()
}

// resolve finds the listener filters that come by name. false: there is one of which
// nothing is known, close.
func (a *arrival) resolve() bool {
	a.inspectors = a.l.Inspectors
	for i := range a.inspectors {
		if a.inspectors[i].Live == nil {
			continue
		}
		now := a.inspectors[i].Live()
		if now == nil {
			a.l.stats.Unknown.Add(1)
			return false
		}
		if &a.inspectors[0] == &a.l.Inspectors[0] {
			a.inspectors = slices.Clone(a.inspectors)
		}
		a.inspectors[i].Kind, a.inspectors[i].Proxy = now.Kind, now.Proxy
	}
	return true
}

// describe finds out where the connection comes from and wanted to go;
// restored: somewhere else than to its socket.
func (a *arrival) describe() (restored bool) {
	if a.inner != nil {
		a.describeInner()
		return false
	}
	a.facts.Local, a.facts.Remote = addrPort(a.nc.LocalAddr()), addrPort(a.nc.RemoteAddr())
	a.facts.Direct = a.facts.Remote
	restored = a.l.Transparent
	for _, in := range a.inspectors {
		if in.Kind != OriginalDst || in.Disabled.Match(a.facts.Local.Port()) {
			continue
		}
		if dst, ok := a.m.originalDst(a.nc, a.facts.Local); ok && dst != a.facts.Local {
			a.facts.Local, restored = dst, true
		}
	}
	return restored
}

// handOff gives the connection to the listener of its original destination;
// false: it stays here.
func (a *arrival) handOff() bool {
	if !a.l.UseOriginalDst {
		return false
	}
	l := a.m.table.Load().find(a.facts.Local)
	if l == nil || l == a.l {
		return false
	}
	a.l = l
	a.seat.move(l.stats)
	return true
}

// unwrap takes PROXY headers off. false: close.
func (a *arrival) unwrap(ctx context.Context, restored *bool) bool {
	for _, in := range a.inspectors {
		if in.Kind != ProxyProtocol || in.Disabled.Match(a.facts.Local.Port()) {
			continue
		}
		a.l.stats.PreActive.Add(1)
		ok := a.bounded(ctx, func() error { return a.unwrapOne(in.Proxy, restored) })
		a.l.stats.PreActive.Add(-1)
		if !ok {
			return false
		}
	}
	return true
}

// bounded runs a step that reads, within the time of listener filters. false: close.
func (a *arrival) bounded(ctx context.Context, step func() error) bool {
	stop := context.AfterFunc(ctx, func() { transport.CloseHard(a.raw) })
	defer stop()
	if a.l.InspectTimeout > 0 {
		if a.deadline.IsZero() {
			a.deadline = time.Now().Add(a.l.InspectTimeout)
		}
		_ = a.raw.SetReadDeadline(a.deadline)
		defer func() { _ = a.raw.SetReadDeadline(time.Time{}) }()
	}
	err := step()
	switch {
	case err == nil:
		return true
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.l.stats.PreTimeout.Add(1)
		return a.l.ContinueOnTimeout
	}
	// The client closed before it said anything; a half-close may still be
	// answered by a server that speaks first.
	return err == io.EOF && a.l.ContinueOnTimeout
}

// inspect looks at the first bytes where the choice of a chain depends on
// them. false: close.
func (a *arrival) inspect(ctx context.Context) bool {
	look := a.l.looks(a.facts.Local)
	var wantTLS, wantHTTP bool
	for _, in := range a.inspectors {
		if in.Disabled.Match(a.facts.Local.Port()) {
			continue
		}
		switch in.Kind {
		case TLSInspector:
			wantTLS = look.tls
		case HTTPInspector:
			wantHTTP = look.http
		}
	}
	if !wantTLS && !wantHTTP {
		return true
	}
	return a.bounded(ctx, func() error {
		nc, err := transport.Peek(a.nc, func(b []byte) bool { return a.look(b, wantTLS, wantHTTP) })
		a.nc = nc
		return err
	})
}

// look takes notes of the first bytes; true: enough.
func (a *arrival) look(b []byte, wantTLS, wantHTTP bool) bool {
	if wantTLS {
		h, s := parseHello(b)
		switch s {
		case seenYes:
			a.facts.TLS, a.facts.SNI, a.facts.ALPN = true, h.sni, h.alpn
			return true
		case seenMore:
			return false
		}
	}
	if !wantHTTP {
		return true
	}
	proto, s := parsePreface(b)
	if s == seenYes {
		a.facts.ALPN = []string{proto}
	}
	return s != seenMore
}

// choose finds the chain and counts the connection there.
func (a *arrival) choose() bool {
	a.t = &tracked{cut: func() { transport.CloseHard(a.raw) }}
	a.facts.Metadata = a.metadata
	for {
		c := a.l.find(&a.facts)
		if c == nil {
			a.l.stats.NoChain.Add(1)
			a.describeConn("")
			a.info.Flags, a.info.Termination = filter.FlagNoRoute, "filter_chain_not_found"
			a.log()
			return false
		}
		if c.enter(a.t) {
			a.chain = c
			break
		}
		// An update came in between: take the new version, if there is one.
		l := a.m.table.Load().named(a.l.Name)
		if l == nil || l == a.l {
			return false
		}
		a.l = l
	}
	if a.resumed == nil {
		a.l.stats.Total.Add(1)
	}
	a.l.stats.Active.Add(1)
	a.describeConn(a.chain.Name)
	return true
}

func (a *arrival) describeConn(chain string) {
	a.info = &filter.ConnInfo{
		ID: a.m.ids.Add(1), Start: time.Now(), Local: a.facts.Local, Remote: a.facts.Remote,
		Listener: a.l.Name, FilterChain: chain, Outbound: a.l.Outbound,
		SNI: a.facts.SNI, Direct: a.facts.Direct, Metadata: a.metadata, ProxyTLVs: a.tlvs,
	}
	for _, in := range a.l.Inspectors {
		if in.Kind == OriginalSource && !in.Disabled.Match(a.facts.Local.Port()) {
			a.info.Origin = filter.Origin{Addr: a.facts.Remote.Addr().Unmap(), Mark: in.Mark}
		}
	}
	if a.inner != nil {
		a.info.Internal = a.inner.String()
		a.info.Inherit(a.inner.Shared)
	}
	if v := a.facts.Objects[TLVState]; v != nil {
		a.info.SetObject(filter.Shared{Key: TLVState, Value: v})
	}
	if a.movable() {
		a.info.Mover = a
	}
	if r := a.resumed; r != nil {
		a.info.Start, a.info.Resumed = r.Start, &r.Resumed
	}
}

// log writes the listener's access logs of a connection that has ended.
func (a *arrival) log() {
	if len(a.l.AccessLogs) == 0 {
		return
	}
	i := a.info
	if i.Duration == 0 {
		i.Duration = time.Since(i.Start)
	}
	entry := filter.Info{
		Conn: i, Start: i.Start, Duration: i.Duration, Remote: i.Remote, Upstream: i.Upstream,
		Flags: i.Flags, Details: i.Termination, Received: i.Received, Sent: i.Sent, Metadata: i.Metadata,
	}
	for _, l := range a.l.AccessLogs {
		l.Log(&entry)
	}
}

// handshake does TLS where the chain wants it.
func (a *arrival) handshake(ctx context.Context) bool {
	if a.chain.TLS == nil {
		return true
	}
	d := a.chain.HandshakeTimeout
	if d == 0 {
		d = defaultHandshakeTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, a.m.overload.Scaled(overload.Handshake, d))
	defer cancel()
	nc, err := a.chain.TLS.Handshake(ctx, a.nc)
	if err != nil {
		if a.l.stats.HandshakeErrors.Add(1); ctx.Err() == context.DeadlineExceeded {
			a.l.stats.HandshakeTimeout.Add(1)
		}
		a.info.Termination = "TLS_error"
		a.m.log.Debug("tls handshake failed", "listener", a.l.Name, "remote", a.facts.Remote, "error", err)
		return false
	}
	a.nc = nc
	a.l.stats.Handshakes.Add(1)
	return true
}

// greetTimeout bounds what proxies say to each other before a connection's bytes.
const greetTimeout = 10 * time.Second

// greet lets filters speak first, where TLS has agreed on it. false: close.
func (a *arrival) greet(ctx context.Context) bool {
	t, ok := a.nc.(interface{ ConnectionState() tls.ConnectionState })
	if !ok || len(a.chain.Filters) == 0 {
		return true
	}
	protocol := t.ConnectionState().NegotiatedProtocol
	for _, f := range a.chain.Filters {
		g, ok := f.(filter.Greeter)
		if !ok || !g.Greets(protocol) {
			continue
		}
		stop := context.AfterFunc(ctx, func() { transport.CloseHard(a.raw) })
		err := g.Greet(a.nc, time.Now().Add(greetTimeout), a.info)
		stop()
		if err != nil {
			a.m.log.Debug("greeting failed", "listener", a.l.Name, "remote", a.facts.Remote, "error", err)
			return false
		}
	}
	return true
}

// leave takes the connection out of the accounts.
func (a *arrival) leave() {
	if !a.moved {
		a.log()
		a.chain.stats.Destroyed.Add(1)
	}
	if a.handed { // what was written last may still be on its way; Busy is never 0 in between
		a.m.lingering.Add(1)
	}
	a.chain.stats.Active.Add(-1)
	switch {
	case !a.handed:
		a.seat.free()
	case a.ends.Add(1) == 2:
		a.m.lingering.Add(-1)
	}
	a.chain.leave(a.t)
}

// released is the end of what was to be sent: the connection takes up nothing any more. A
// host may wait a little yet for the peer to close.
func (a *arrival) released() {
	a.seat.free()
	if a.ends.Add(1) == 2 {
		a.m.lingering.Add(-1)
	}
}

// hand gives the connection to network filters and terminal.
func (a *arrival) hand() {
	a.handed = true
	c := a.m.serveConn(a.nc, transport.Options{Linger: linger, Sent: a.released})
	if cc, ok := c.(interface{ Cut() }); ok {
		a.chain.handed(a.t, cc.Cut)
	}
	if cs := c.TLS(); cs != nil {
		a.fillTLS(cs)
	}
	filters, ok := a.open(c)
	if !ok {
		c.Close()
		closeFilters(filters, a.info)
		a.leave()
		return
	}
	// Said before it is served: a first answer may be out before Drain comes.
	a.info.Leaving = a.leaving()
	leaving := a.info.Leaving
	a.chain.Terminal.Serve(c, a.info, func() {
		closeFilters(filters, a.info)
		a.leave()
	})
	if !leaving && a.leaving() {
		a.chain.Terminal.Drain() // it began while this connection was on its way
	}
}

// leaving tells whether connections of the chain are to end.
func (a *arrival) leaving() bool { return a.m.retired.Load() || a.chain.isDraining() }

func (a *arrival) fillTLS(cs *tls.ConnectionState) {
	a.info.TLS = cs
	a.info.ALPN = cs.NegotiatedProtocol
	if cs.ServerName != "" {
		a.info.SNI = cs.ServerName
	}
	if cs.DidResume {
		a.l.stats.SessionsReused.Add(1)
	}
	if len(cs.PeerCertificates) > 0 {
		a.info.PeerURI = transport.SPIFFEID(cs.PeerCertificates[0])
		a.info.Verified = a.chain.TLS.Verifies()
	}
	a.info.LocalURI = a.chain.TLS.LocalURI()
}

// gone tells whether the client has closed. One that will send no more may still
// wait for an answer, where the terminal filter passes half-closes on.
func (a *arrival) gone() bool {
	t, ok := a.chain.Terminal.(interface{ HalfCloses() bool })
	return hungUp(a.raw, !ok || !t.HalfCloses())
}

// open asks the network filters. It returns those that were asked.
func (a *arrival) open(c stream.Conn) ([]filter.NetworkFilter, bool) {
	if len(a.chain.Filters) == 0 {
		return nil, true
	}
	filters := make([]filter.NetworkFilter, 0, len(a.chain.Filters))
	a.info.Gone = a.gone
	defer func() { a.info.Gone = nil }()
	for _, factory := range a.chain.Filters {
		f := factory.New()
		if f == nil {
			a.l.stats.NetworkUnknown.Add(1)
			return filters, false
		}
		filters = append(filters, f)
		if v := f.Open(c, a.info); v != filter.Continue {
			return filters, false
		}
	}
	return filters, true
}

func closeFilters(filters []filter.NetworkFilter, info *filter.ConnInfo) {
	for _, f := range filters {
		f.Closed(info)
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
