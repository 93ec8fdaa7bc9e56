package envoy

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// upstream plays the server behind a proxy and keeps what it got.
type upstream struct {
	r *run
	s script
	l net.Listener
	// exchanges are the answers, in the order of requests; the last is repeated.
	exchanges [][]step

	// Guarded by the run's lock.
	next  int
	conns []*upConn
	udp   udpServer
	over  bool // connections that still come are closed
}

// upConn is a connection that a proxy opened.
type upConn struct {
	u     *upstream
	nc    net.Conn
	got   []byte
	tls   string
	ended bool
	shut  bool // by us
	raw   bool // a tunnel
	holds bool // a step waits for the client, or for the proxy to close
	// HTTP/2 only.
	h2      *h2Conn
	streams []*h2Stream
	pinged  bool // settle sent a PING
	pong    bool // and it came back
}

func exchanges(steps []step) [][]step {
	out := [][]step{nil}
	for _, s := range steps {
		if s.verb == "next" {
			out = append(out, nil)
			continue
		}
		out[len(out)-1] = append(out[len(out)-1], s)
	}
	return out
}

const defaultAnswer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

func (u *upstream) listen(addr string) error {
	if u.s.opt["udp"] != "" {
		return u.listenUDP(addr)
	}
	var err error
	if u.l, err = net.Listen("tcp", addr); err != nil {
		return err
	}
	u.r.wg.Go(func() {
		for {
			nc, err := u.l.Accept()
			if err != nil {
				return
			}
			c := &upConn{u: u, nc: nc}
			u.r.change(func() {
				u.conns = append(u.conns, c)
				if u.over {
					nc.Close()
				}
			})
			u.r.wg.Go(c.serve)
		}
	})
	return nil
}

// settle waits until the proxy let go of connections with unfinished requests:
// the clients are gone. What it should have asked for later is left to cases
// to wait for.
func (u *upstream) settle() {
	limit := time.Now().Add(stepLimit)
	u.pingH2()
	u.r.until("settle", func() bool {
		for _, c := range u.conns {
			list, _ := c.requests()
			busy := c.holds || c.pinged && !c.pong || slices.ContainsFunc(c.streams, (*h2Stream).unfinished) || c.raw || len(list) > 0 && !list[len(list)-1].complete
			if busy && !c.ended && !c.shut {
				return time.Now().After(limit)
			}
		}
		return true
	})
}

func (u *upstream) close() {
	if u.l != nil {
		u.l.Close()
	}
	if u.udp.pc != nil {
		u.udp.pc.Close()
	}
	u.r.change(func() {
		u.over = true
		for _, c := range u.conns {
			c.nc.Close()
		}
		u.r.released[u.s.name] += 1000 // nobody holds any longer
	})
}

// has: a number of whole requests, or bytes.
func (u *upstream) has(what string) bool {
	n, err := strconv.Atoi(what)
	for _, d := range u.udp.got {
		if n--; err != nil && d.text == what {
			return true
		}
	}
	for _, c := range u.conns {
		if err != nil && c.holdsText(what) {
			return true
		}
		list, _ := c.requests()
		for _, m := range list {
			if m.complete {
				n--
			}
		}
		for _, s := range c.streams {
			if s.ended {
				n--
			}
		}
	}
	return err == nil && n <= 0
}

// holdsText tells whether a text has come, as bytes or in the body of a stream.
func (c *upConn) holdsText(text string) bool {
	return strings.Contains(string(c.got), text) ||
		slices.ContainsFunc(c.streams, func(s *h2Stream) bool { return strings.Contains(string(s.body), text) })
}

func (u *upstream) lost() bool {
	for _, c := range u.conns {
		if !c.ended {
			return false
		}
	}
	return len(u.conns) > 0
}

// take is the next answer.
func (u *upstream) take() (steps []step) {
	u.r.change(func() {
		steps = u.exchanges[min(u.next, len(u.exchanges)-1)]
		u.next++
	})
	return steps
}

func (u *upstream) String() string {
	var b strings.Builder
	u.udp.write(&b, u.s.opt["peer"] != "")
	n := 0
	for _, c := range u.conns {
		if u.s.opt["tcp"] == "" && len(c.got)+len(c.streams) == 0 && c.tls == "" {
			continue // opened for a request that did not come: a matter of time
		}
		n++
		fmt.Fprintf(&b, "connection %d%s\n", n, c.tls)
		if a, ok := c.nc.RemoteAddr().(*net.TCPAddr); ok && u.s.opt["peer"] != "" {
			fmt.Fprintf(&b, "  from %s\n", a.IP)
		}
		switch {
		case u.s.opt["tcp"] != "":
			fmt.Fprintf(&b, "  bytes %s\n", showBytes(c.got))
		case u.s.opt["h2"] != "":
			for _, s := range c.streams {
				b.WriteString(s.String())
			}
		default:
			list, raw := c.requests()
			for _, m := range list {
				b.WriteString(m.String())
			}
			if len(raw) > 0 {
				fmt.Fprintf(&b, "  raw %s\n", showBytes(raw))
			}
		}
	}
	return b.String()
}

func (c *upConn) serve() {
	defer c.nc.Close()
	if name := c.u.s.opt["tls"]; name != "" {
		cfg := &tls.Config{Certificates: []tls.Certificate{certs.pairs[name]}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
		if a := c.u.s.opt["alpn"]; a != "" {
			cfg.NextProtos = strings.Split(a, ",")
		}
		tc := tls.Server(c.nc, cfg)
		if err := tc.Handshake(); err != nil {
			c.u.r.change(func() { c.tls, c.ended = " (tls: no handshake)", true })
			return
		}
		s := tc.ConnectionState()
		who := "nobody"
		if len(s.PeerCertificates) > 0 {
			who = s.PeerCertificates[0].Subject.CommonName
		}
		c.u.r.change(func() {
			c.nc, c.tls = tc, fmt.Sprintf(" (tls: sni %q alpn %q from %s)", s.ServerName, s.NegotiatedProtocol, who)
		})
	}
	if c.u.s.opt["h2"] != "" {
		c.serveH2()
		return
	}
	c.u.r.wg.Go(c.answer)
	b := make([]byte, 64<<10)
	for {
		n, err := c.nc.Read(b)
		c.u.r.change(func() {
			c.got = append(c.got, b[:n]...)
			c.ended = err != nil
		})
		if err != nil {
			return
		}
	}
}

// requests reads what came; raw is what followed an upgrade that was taken.
func (c *upConn) requests() (list []message, raw []byte) {
	if c.u.s.opt["tcp"] != "" || c.u.s.opt["h2"] != "" {
		return nil, nil
	}
	b := c.got
	for len(b) > 0 {
		m, n := parseMessage(b, "", false, c.ended)
		list, b = append(list, m), b[n:]
		if m.complete && (m.get("upgrade") != "" && !strings.Contains(strings.ToLower(m.get("upgrade")), "h2c") || strings.HasPrefix(m.start, "CONNECT ")) {
			return list, b
		}
	}
	return list, nil
}

// answer answers request after request.
func (c *upConn) answer() {
	tcp := c.u.s.opt["tcp"] != ""
	for k := 1; ; k++ {
		early := false
		if !tcp {
			if first := c.u.exchanges[min(c.u.peek(), len(c.u.exchanges)-1)]; len(first) > 0 && first[0].verb == "early" {
				early = true
			}
			arrived := func() bool {
				list, _ := c.requests()
				return len(list) >= k && (list[k-1].complete || early && list[k-1].framing != "")
			}
			if !c.arrives(arrived) {
				return
			}
		}
		steps := c.u.take()
		if len(steps) == 0 || len(steps) == 1 && early {
			if tcp {
				return
			}
			steps = append(steps, step{verb: "write", text: defaultAnswer})
		}
		for _, st := range steps {
			if !c.do(st) {
				return
			}
		}
		if tcp {
			return
		}
	}
}

func (u *upstream) peek() int {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	return u.next
}

// arrives waits without a limit, but not longer than the connection lives.
func (c *upConn) arrives(ok func() bool) bool {
	for {
		c.u.r.mu.Lock()
		done, gone, next := ok(), c.ended, c.u.r.changed
		c.u.r.mu.Unlock()
		if done || gone {
			return done
		}
		<-next
	}
}

// do plays one step; false: it was the connection's last.
func (c *upConn) do(st step) bool {
	switch st.verb {
	case "write":
		c.u.r.change(func() { c.raw = c.raw || strings.HasPrefix(st.text, "HTTP/1.1 101") })
		_, err := c.nc.Write([]byte(st.text))
		return err == nil
	case "hold":
		c.u.r.change(func() { c.holds = true })
		ok := c.u.hold(&c.ended)
		c.u.r.change(func() { c.holds = false })
		return ok
	case "until":
		return c.arrives(func() bool { return c.holdsText(st.text) })
	case "eof":
		return c.arrives(func() bool { return c.ended })
	case "half-close":
		if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
	case "reset":
		c.u.r.change(func() { c.shut = true })
		if tc, ok := c.nc.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
		c.nc.Close()
		return false
	case "close":
		c.u.r.change(func() { c.shut = true })
		c.nc.Close()
		return false
	case "release":
		c.u.r.change(func() { c.u.r.released[c.u.s.name]++ })
	case "early":
	default:
		c.u.r.change(func() { c.u.r.late = append(c.u.r.late, fmt.Sprintf("upstream: there is no step %q", st.verb)) })
	}
	return true
}

// hold waits for the client's "release", or until the connection is gone.
func (u *upstream) hold(gone *bool) bool {
	for {
		u.r.mu.Lock()
		ok := u.r.released[u.s.name] > 0
		if ok {
			u.r.released[u.s.name]--
		}
		lost, next := *gone, u.r.changed
		u.r.mu.Unlock()
		if ok || lost {
			return ok
		}
		<-next
	}
}
