package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

// DialOptions are what a request adds to a connection.
type DialOptions struct {
	HandshakeOptions
	// Source and Dest go into a PROXY header when the Spec asks for it.
	Source, Dest netip.AddrPort
	// Origin, when it has an address, is what the connection is made from.
	Origin filter.Origin
	// TLVs, encoded, go into it too (Spec.TLVs).
	TLVs string
	// Shared goes along to an internal listener.
	Shared []filter.Shared
	// For is the downstream connection that alone may use this one; 0: all may.
	For uint64

	// Greeted, when set, is told before done who the server's proxy says it is.
	Greeted func(*filter.Peer)

	// check, when set, replaces the host's endpoint and TLS: a health check
	// connects, which is not counted.
	check    *Endpoint
	checkTLS TLS
}

// DialError says why there is no connection.
type DialError struct {
	// Timeout: the connect timeout passed.
	Timeout bool
	// TLS: the handshake failed.
	TLS bool
	// Canceled: the caller gave up, or the host has gone.
	Canceled bool
	Err      error
}

// Error says what failed.
func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// Dial connects to h, TLS included, within the connect timeout. done is called
// once, on a goroutine of its own; the stream has not been bound. Errors are a
// *DialError.
//
// The caller has acquired Connections from the Limits and releases it when the
// connection has gone, or was not made. When one that was made has gone it also
// calls Host.Disconnected, once.
func (c *Cluster) Dial(h *Host, o DialOptions, done func(stream.Conn, error)) (cancel func()) {
	ctx, cancel := context.WithCancel(c.m.life)
	c.stats.UpstreamCxTotal.Add(1)
	c.stats.UpstreamCxActive.Add(1)
	h.stats.CxTotal.Add(1)
	h.stats.CxActive.Add(1)
	started := c.m.work(func(context.Context) {
		defer cancel()
		nc, err := c.connect(ctx, h, &o)
		if err != nil {
			c.failed(h, err)
			done(nil, err)
			return
		}
		done(c.m.o.Serve(nc, c.spec.BufferLimit), nil)
	})
	if !started {
		cancel()
		err := &DialError{Canceled: true, Err: errors.New("the proxy is shutting down")}
		c.failed(h, err)
		go done(nil, err) // as promised, not from within Dial
	}
	return cancel
}

// Connect connects to h as Dial does, for calls of the proxy's own (spans), and
// waits. Such connections are not counted.
func (c *Cluster) Connect(ctx context.Context, h *Host) (net.Conn, error) {
	nc, err := c.connect(ctx, h, &DialOptions{})
	if err != nil {
		return nil, err
	}
	return nc, nil
}

// failed counts a connection that was not made.
func (c *Cluster) failed(h *Host, err *DialError) {
	c.stats.UpstreamCxActive.Add(-1)
	h.stats.CxActive.Add(-1)
	if err.Canceled {
		return
	}
	c.stats.UpstreamCxConnectFail.Add(1)
	h.stats.CxConnectFail.Add(1)
	if err.Timeout {
		c.stats.UpstreamCxConnectTimeout.Add(1)
	}
}

// Disconnected counts the end of a connection that Dial has made. local: this
// side closed it; busy: requests were under way.
func (h *Host) Disconnected(local, busy bool) {
	s := h.cluster.stats
	h.stats.CxActive.Add(-1)
	s.UpstreamCxActive.Add(-1)
	s.UpstreamCxDestroy.Add(1)
	if local {
		s.UpstreamCxDestroyLocal.Add(1)
	} else {
		s.UpstreamCxDestroyRemote.Add(1)
	}
	if !busy {
		return
	}
	s.UpstreamCxDestroyWithActiveRq.Add(1)
	if local {
		s.UpstreamCxDestroyLocalWithActiveRq.Add(1)
	} else {
		s.UpstreamCxDestroyRemoteWithActiveRq.Add(1)
	}
}

// connect makes the connection with all that belongs to it.
func (c *Cluster) connect(parent context.Context, h *Host, o *DialOptions) (net.Conn, *DialError) {
	timeout := c.spec.ConnectTimeout
	if timeout <= 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(parent, timeout)
	defer cancel()
	start := time.Now()
	e, secure := h.Endpoint(), h.tls
	if o.check != nil {
		e, secure = o.check, o.checkTLS
	}
	var nc net.Conn
	var err error
	if e.Internal != "" {
		nc, err = c.dialInner(ctx, h, e, o)
	} else {
		nc, err = c.dialAny(ctx, e, o.Origin)
	}
	if err != nil {
		return nil, dialError(ctx, parent, fmt.Errorf("connect to %s of cluster %q: %w", h, c.spec.Name, err), false)
	}
	if o.check == nil {
		c.stats.ConnectTime.Observe(time.Since(start))
	}
	if c.spec.ProxyProtocol != 0 {
		source, dest := o.Source, o.Dest
		if o.check != nil && c.spec.ProxyProtocol == 1 { // version 2 can say that it speaks for itself
			source, dest = ends(nc)
		}
		if deadline, ok := ctx.Deadline(); ok {
			_ = nc.SetWriteDeadline(deadline)
		}
		if _, err := nc.Write(ProxyHeader(c.spec.ProxyProtocol, source, dest, o.TLVs)); err != nil {
			_ = nc.Close()
			return nil, dialError(ctx, parent, fmt.Errorf("PROXY header to %s of cluster %q: %w", h, c.spec.Name, err), false)
		}
		_ = nc.SetWriteDeadline(time.Time{})
	}
	if secure == nil {
		return nc, nil
	}
	hello := transport.ClientHello{SNI: o.ServerName, Host: h.Hostname(), ALPN: o.ALPN}
	tc, err := secure.Handshake(ctx, nc, hello)
	if err == nil && o.VerifyName != "" {
		if err = verifyName(tc, o.VerifyName); err != nil {
			_ = tc.Close()
		}
	}
	if err != nil {
		return nil, dialError(ctx, parent, fmt.Errorf("TLS handshake with %s of cluster %q: %w", h, c.spec.Name, err), true)
	}
	if err := c.greet(ctx, tc, o); err != nil {
		_ = tc.Close()
		return nil, dialError(ctx, parent, fmt.Errorf("connection to %s of cluster %q: %w", h, c.spec.Name, err), false)
	}
	return tc, nil
}

// greet exchanges what proxies say first, where both have agreed on it.
func (c *Cluster) greet(ctx context.Context, nc net.Conn, o *DialOptions) error {
	t, ok := nc.(interface{ ConnectionState() tls.ConnectionState })
	if c.spec.Greeter == nil || !ok || !c.spec.Greeter.Greets(t.ConnectionState().NegotiatedProtocol) {
		return nil
	}
	deadline, _ := ctx.Deadline()
	stop := context.AfterFunc(ctx, func() { transport.CloseHard(nc) })
	defer stop()
	p, err := c.spec.Greeter.Greet(nc, deadline)
	if err == nil && o.Greeted != nil {
		o.Greeted(p)
	}
	return err
}

func dialError(ctx, parent context.Context, err error, inTLS bool) *DialError {
	// The socket's deadline may pass a moment before the context's timer fires.
	late := ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	return &DialError{
		Canceled: parent.Err() != nil,
		Timeout:  parent.Err() == nil && late,
		TLS:      inTLS, Err: err,
	}
}

// verifyName checks that a certificate is for one of the names in a list with commas.
func verifyName(nc net.Conn, names string) error {
	t, ok := nc.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return fmt.Errorf("BUG: %T has no TLS state", nc)
	}
	certs := t.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return errors.New("the peer showed no certificate")
	}
	var first error
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		err := certs[0].VerifyHostname(name)
		if err == nil || slices.ContainsFunc(certs[0].URIs, func(u *url.URL) bool { return u.String() == name }) {
			return nil
		}
		first = cmp.Or(first, err)
	}
	return first
}

// headStart is how long an address has before the next is tried beside it (RFC 8305).
const headStart = 300 * time.Millisecond

// dialAny connects to the first address that answers.
func (c *Cluster) dialAny(ctx context.Context, e *Endpoint, from filter.Origin) (net.Conn, error) {
	t := transport.Target{Addr: e.Addr, Path: e.Path, Source: c.spec.Bind, Source6: c.spec.Bind6, KeepAlive: c.spec.Keepalive, Freebind: c.spec.BindFree}
	if from.Addr.IsValid() {
		t.Source, t.Source6, t.Transparent, t.Mark = from.Addr, netip.Addr{}, true, from.Mark
	}
	if len(e.More) == 0 {
		return c.m.o.Dialer.Dial(ctx, t)
	}
	type result struct {
		nc  net.Conn
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan result)
	addrs := append([]netip.AddrPort{e.Addr}, e.More...)
	started, ended := 0, 0
	next := func() {
		t.Addr = addrs[started]
		started++
		go func(t transport.Target) {
			nc, err := c.m.o.Dialer.Dial(ctx, t)
			results <- result{nc, err}
		}(t)
	}
	next()
	timer := time.NewTimer(headStart)
	defer timer.Stop()
	var won net.Conn
	var first error
	for ended < started {
		select {
		case r := <-results:
			ended++
			switch {
			case r.err == nil && won == nil:
				won = r.nc
				cancel() // the others; their results are still waited for
			case r.err == nil:
				_ = r.nc.Close()
			case first == nil:
				first = r.err
			}
			if r.err != nil && won == nil && started < len(addrs) && ctx.Err() == nil {
				next()
				timer.Reset(headStart)
			}
		case <-timer.C:
			if won == nil && started < len(addrs) {
				next()
				timer.Reset(headStart)
			}
		}
	}
	cancel()
	if won != nil {
		return won, nil
	}
	return nil, first
}

// ends are the addresses of a connection.
func ends(nc net.Conn) (local, remote netip.AddrPort) {
	l, ok1 := nc.LocalAddr().(*net.TCPAddr)
	r, ok2 := nc.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return local, remote
	}
	unmapped := func(a *net.TCPAddr) netip.AddrPort {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return unmapped(l), unmapped(r)
}
