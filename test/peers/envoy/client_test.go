package envoy

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// client speaks HTTP/1, or anything, as its script says, byte for byte.
type client struct {
	r  *run
	s  script
	nc net.Conn

	sent []byte
	// Guarded by the run's lock.
	got []byte
	end string // "", eof, reset
}

const probe = "GET /-probe HTTP/1.1\r\nhost: " + probeHost + "\r\n\r\n"

func (c *client) play(t *testing.T) string {
	c.r.wg.Go(c.read)
	waited := false
	fate := ""
	for _, st := range c.s.steps {
		switch st.verb {
		case "write":
			c.write(st.text)
			waited = false
		case "wait":
			c.wait(st)
			waited = true
		case "until":
			c.r.until("client: until "+st.text, func() bool { return strings.Contains(string(c.got), st.text) || c.end != "" })
			waited = true
		case "half-close":
			c.halfClose()
		case "end":
			fate = st.args[0]
		default:
			c.r.shared(t, st)
		}
	}
	if !waited && fate == "" {
		c.wait(step{args: []string{"1"}})
	}
	shown := c.finish(fate)
	c.nc.Close()
	return shown
}

func (c *client) write(text string) {
	c.sent = append(c.sent, text...)
	_, _ = c.nc.Write([]byte(text)) // a proxy may have closed: what it answered tells
}

func (c *client) halfClose() {
	if w, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
	}
}

func (c *client) read() {
	b := make([]byte, 64<<10)
	for {
		n, err := c.nc.Read(b)
		c.r.change(func() {
			c.got = append(c.got, b[:n]...)
			if err != nil {
				c.end = endOf(err)
			}
		})
		if err != nil {
			return
		}
	}
}

func endOf(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "eof"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, net.ErrClosed):
		return "closed here"
	}
	return err.Error()
}

// wait: "wait N" for N final responses, "wait N head" for the head of the Nth,
// "wait interim" for a 1xx, "wait eof" for the end.
func (c *client) wait(st step) {
	what := "client: wait " + strings.Join(st.args, " ")
	if st.args[0] == "eof" {
		c.r.until(what, func() bool { return c.end != "" })
		return
	}
	n, _ := strconv.Atoi(st.args[0])
	head := len(st.args) > 1
	c.r.until(what, func() bool { return c.end != "" || c.finals(head) >= n })
}

// finals counts final responses, whole ones or heads.
func (c *client) finals(head bool) int {
	list, _ := c.responses()
	n := 0
	for _, m := range list {
		if (m.complete || head && m.framing != "") && (m.raw || !strings.HasPrefix(m.start, "HTTP/1.1 1")) {
			n++
		}
	}
	return n
}

var requestLine = regexp.MustCompile(`(?m)^([A-Z]+) \S+ HTTP/1`)

// responses reads what came; rest is what is not HTTP.
func (c *client) responses() (list []message, rest []byte) {
	asked := requestLine.FindAllSubmatch(c.sent, -1)
	b, k := c.got, 0
	for len(b) > 0 {
		method := ""
		if k < len(asked) {
			method = string(asked[k][1])
		}
		m, n := parseMessage(b, method, true, c.end != "")
		list, b = append(list, m), b[n:]
		if m.raw {
			return list, b
		}
		if !strings.HasPrefix(m.start, "HTTP/1.1 1") {
			k++
		}
	}
	return list, nil
}

// finish finds what became of the connection. "end eof" waits for its end and
// tells how it ended; "end drop" closes without a look; otherwise another
// request shows whether it is of use.
func (c *client) finish(fate string) string {
	var shown []message
	var rest []byte
	look := func() { shown, rest = c.responses() }
	ended := func() bool { return c.end != "" }
	how := "dropped"
	switch {
	case c.s.opt["raw"] != "":
		if fate == "eof" {
			c.r.until("client: end eof", ended)
		}
		c.r.mu.Lock()
		defer c.r.mu.Unlock()
		return fmt.Sprintf("bytes %s\n", showBytes(c.got)) + c.fate(fate)
	case fate == "eof":
		c.r.until("client: end eof", ended)
		c.r.mu.Lock()
		look()
		how = c.end
		c.r.mu.Unlock()
	case fate == "drop":
		c.r.mu.Lock()
		look()
		c.r.mu.Unlock()
	default:
		c.r.mu.Lock()
		look()
		count, gone := c.finals(false), c.end != ""
		c.r.mu.Unlock()
		if !gone {
			c.write(probe)
			c.r.until("client: probe", func() bool { return c.end != "" || c.finals(false) > count })
			c.r.mu.Lock()
			if c.finals(false) <= count {
				gone = true
				look()
			}
			c.r.mu.Unlock()
		}
		how = map[bool]string{true: "closed", false: "open"}[gone]
	}
	var b strings.Builder
	for _, m := range shown {
		b.WriteString(m.String())
	}
	if len(rest) > 0 {
		fmt.Fprintf(&b, "raw %s\n", showBytes(rest))
	}
	return b.String() + "connection: " + how + "\n"
}

func (c *client) fate(fate string) string {
	if fate == "eof" {
		return "connection: " + c.end + "\n"
	}
	return ""
}

// handshake does TLS as the options say, and tells what was agreed on.
func handshake(nc net.Conn, opt map[string]string) (net.Conn, string, error) {
	cfg := &tls.Config{ServerName: opt["sni"], RootCAs: certs.roots, InsecureSkipVerify: true} //nolint:gosec // the proxy is under test, not its certificate
	if a := opt["alpn"]; a != "" {
		cfg.NextProtos = strings.Split(a, ",")
	}
	if n := opt["cert"]; n != "" {
		cfg.Certificates = append(cfg.Certificates, certs.pairs[n])
	}
	if opt["max"] == "1.2" {
		cfg.MaxVersion = tls.VersionTLS12
	}
	if opt["max"] == "1.1" {
		cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	}
	c := tls.Client(nc, cfg)
	if err := c.Handshake(); err != nil {
		nc.Close()
		return nil, "tls: no handshake\n", err
	}
	s := c.ConnectionState()
	return c, fmt.Sprintf("tls: %s, %q, %s\n", tls.VersionName(s.Version), s.NegotiatedProtocol, s.PeerCertificates[0].Subject), nil
}
