package behave

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// patience bounds whatever a program or the runner waits for.
const patience = 60 * time.Second

// ask is what a program is told to do: one request, or several of the same.
type ask struct {
	// Method is an HTTP method, or GRPC, TCP, TLS, UDP.
	Method, URL string
	// Dial is host:port to connect to in place of the URL's.
	Dial    string
	Headers [][2]string
	Host    string
	Body    string
	// Size pads the body.
	Size int
	// HTTP is "1" or "2"; empty: 1, over TLS what is agreed on.
	HTTP  string
	Times int
	// Parallel requests at once, each on a connection of its own.
	Parallel int
	// Fresh connections for each request.
	Fresh bool
	Trust string // path of the authority's certificate; empty: none is checked
	Cert  string // path of certificate and key, without ".crt" and ".key"
	SNI   string
	// TLS bounds the version: "1.2" or "1.3" alone; empty: as agreed on.
	TLS string
	// Proxy goes ahead of everything on a connection: the line of a PROXY protocol.
	Proxy string
}

// versions are those of TLS, by name.
var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// answer is what came of one request.
type answer struct {
	Status  int
	Headers http.Header
	Body    string
	// Error is why there is no answer.
	Error string
	Took  time.Duration
	Proto string
	// Certificate are the DNS names and URIs of the server's.
	Certificate []string
	GRPC        string // grpc-status
}

// do carries an ask out.
func do(ctx context.Context, a ask) []answer {
	n := max(a.Times, 1)
	out := make([]answer, n)
	var one func() answer
	switch a.Method {
	case "TCP", "TLS":
		one = func() answer { return stream(ctx, a) }
	case "UDP":
		one = func() answer { return datagram(ctx, a) }
	default:
		c := client(a)
		defer c.CloseIdleConnections()
		one = func() answer { return request(ctx, c, a) }
	}
	if a.Parallel < 2 {
		for i := range out {
			out[i] = one()
		}
		return out
	}
	slots := make(chan struct{}, a.Parallel)
	var wg sync.WaitGroup
	for i := range out {
		slots <- struct{}{}
		wg.Go(func() {
			out[i] = one()
			<-slots
		})
	}
	wg.Wait()
	return out
}

// secure is a client's TLS.
func secure(a ask) (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: a.SNI} // checked below, where there is an authority
	if a.TLS != "" {
		c.MinVersion, c.MaxVersion = versions[a.TLS], versions[a.TLS]
	}
	if a.Trust != "" {
		raw, err := os.ReadFile(a.Trust)
		if err != nil {
			return nil, err
		}
		c.InsecureSkipVerify, c.RootCAs = false, x509.NewCertPool()
		c.RootCAs.AppendCertsFromPEM(raw)
	}
	if a.Cert != "" {
		cert, err := tls.LoadX509KeyPair(a.Cert+".crt", a.Cert+".key")
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

func client(a ask) *http.Client {
	t := &http.Transport{DisableKeepAlives: a.Fresh, MaxIdleConnsPerHost: 64, Protocols: &http.Protocols{}}
	t.Protocols.SetHTTP1(a.HTTP != "2")
	t.Protocols.SetHTTP2(a.HTTP != "1")
	t.Protocols.SetUnencryptedHTTP2(a.HTTP == "2")
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if a.Dial != "" {
			addr = a.Dial
		}
		return connect(ctx, a, addr)
	}
	var err error
	if t.TLSClientConfig, err = secure(a); err != nil {
		t.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	return &http.Client{Transport: t, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// connect opens a connection, and says what has to be said first.
func connect(ctx context.Context, a ask, addr string) (net.Conn, error) {
	nc, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", addr)
	if err != nil || a.Proxy == "" {
		return nc, err
	}
	if _, err := io.WriteString(nc, a.Proxy+"\r\n"); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return nc, nil
}

func request(ctx context.Context, c *http.Client, a ask) answer {
	method, body := a.Method, a.Body+strings.Repeat("x", max(0, a.Size-len(a.Body)))
	if method == "GRPC" {
		method = http.MethodPost
		body = string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))) + body
	}
	r, err := http.NewRequestWithContext(ctx, method, a.URL, strings.NewReader(body))
	if err != nil {
		return answer{Error: err.Error()}
	}
	if body == "" {
		r.Body, r.ContentLength = nil, 0
	}
	// As it is written: cleaning it is the proxy's business.
	if _, rest, ok := strings.Cut(a.URL, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 && strings.ContainsAny(rest[i:], `\%`) {
			r.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Opaque: "//" + rest}
		}
	}
	r.Host = a.Host
	for _, h := range a.Headers {
		if h[0] == strings.ToLower(h[0]) {
			r.Header.Add(h[0], h[1])
		} else {
			r.Header[h[0]] = append(r.Header[h[0]], h[1]) // spelled like that
		}
	}
	if a.Method == "GRPC" {
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("Te", "trailers")
	}
	begin := time.Now()
	resp, err := c.Do(r)
	if err != nil {
		return answer{Error: err.Error(), Took: time.Since(begin)}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	out := answer{Status: resp.StatusCode, Headers: resp.Header, Body: string(raw), Took: time.Since(begin), Proto: resp.Proto}
	if err != nil {
		out.Error = err.Error()
	}
	if a.Method == "GRPC" {
		out.Body = string(raw[min(5, len(raw)):])
		if out.GRPC = resp.Trailer.Get("Grpc-Status"); out.GRPC == "" {
			out.GRPC = resp.Header.Get("Grpc-Status")
		}
	}
	if resp.TLS != nil {
		out.Certificate = names(resp.TLS.PeerCertificates[0])
	}
	return out
}

// names are those in a certificate.
func names(c *x509.Certificate) []string {
	out := append([]string(nil), c.DNSNames...)
	for _, u := range c.URIs {
		out = append(out, u.String())
	}
	return out
}

// stream connects, says a line and returns the one that comes back.
func stream(ctx context.Context, a ask) (out answer) {
	begin := time.Now()
	defer func() { out.Took = time.Since(begin) }()
	addr := a.URL
	if a.Dial != "" {
		addr = a.Dial
	}
	nc, err := connect(ctx, a, addr)
	if err != nil {
		return answer{Error: err.Error()}
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if a.Method == "TLS" {
		conf, err := secure(a)
		if err != nil {
			return answer{Error: err.Error()}
		}
		tc := tls.Client(nc, conf)
		if err := tc.HandshakeContext(ctx); err != nil {
			return answer{Error: err.Error()}
		}
		out.Certificate = names(tc.ConnectionState().PeerCertificates[0])
		nc = tc
	}
	if _, err := io.WriteString(nc, a.Body+"\n"); err != nil {
		out.Error = err.Error()
		return out
	}
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Body = strings.TrimSpace(line)
	return out
}

// datagram sends one, again and again as UDP has to, and returns the answer.
func datagram(ctx context.Context, a ask) answer {
	begin := time.Now()
	addr := a.URL
	if a.Dial != "" {
		addr = a.Dial
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, "udp", addr)
	if err != nil {
		return answer{Error: err.Error()}
	}
	defer nc.Close()
	b := make([]byte, 1500)
	for range 10 {
		if _, err = io.WriteString(nc, a.Body); err != nil {
			continue
		}
		_ = nc.SetReadDeadline(time.Now().Add(patience / 60))
		var n int
		if n, err = nc.Read(b); err == nil {
			return answer{Body: string(b[:n]), Took: time.Since(begin)}
		}
	}
	return answer{Error: err.Error(), Took: time.Since(begin)}
}

// teller reaches the program of a workload by its unix socket.
type teller struct{ c *http.Client }

func newTeller(socket string) teller {
	return teller{&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}}
}

// post sends in and reads out, both as JSON.
func (t teller) post(ctx context.Context, path string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://program"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	resp, err := t.c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, raw)
	}
	if out == nil {
		return nil
	}
	return errors.Join(json.Unmarshal(raw, out))
}
