package health

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
)

// userAgent is Envoy's: servers tell questions from traffic by it.
const userAgent = "Envoy/HC"

type httpProbe struct {
	s         *HTTP
	name      string
	transport *http.Transport
}

func newHTTPProbe(s *Spec, dial Dial, name string) *httpProbe {
	p := &httpProbe{s: s.HTTP, name: name, transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives:  s.NoReuse,
		DisableCompression: true,
		MaxConnsPerHost:    1,
		Protocols:          &http.Protocols{},
	}}
	p.transport.Protocols.SetHTTP1(!s.HTTP.HTTP2)
	p.transport.Protocols.SetUnencryptedHTTP2(s.HTTP.HTTP2)
	return p
}

// Close implements Probe.
func (p *httpProbe) Close() { p.transport.CloseIdleConnections() }

func (p *httpProbe) request(ctx context.Context) *http.Request {
	u := *p.s.URL
	// TLS is the dialler's; the transport below sees plain bytes.
	u.Scheme, u.Host = "http", "host"
	r := &http.Request{
		Method: p.s.Method, URL: &u, Host: p.name, Header: p.s.Header.Clone(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if len(r.Header["User-Agent"]) == 0 {
		r.Header.Set("User-Agent", userAgent)
	}
	for _, n := range p.s.Remove {
		r.Header.Del(n)
		if strings.EqualFold(n, "user-agent") {
			r.Header["User-Agent"] = []string{""} // net/http adds one otherwise
		}
	}
	if len(p.s.Body) > 0 {
		r.ContentLength = int64(len(p.s.Body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.s.Body)), nil }
		r.Body, _ = r.GetBody()
	}
	return r.WithContext(ctx)
}

// Ask implements Probe.
func (p *httpProbe) Ask(ctx context.Context) Answer {
	resp, err := p.transport.RoundTrip(p.request(ctx))
	if err != nil {
		return failure(ctx)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, p.s.Buffer))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		return failure(ctx)
	}
	return p.judge(resp, body)
}

// judge says what a whole response means.
func (p *httpProbe) judge(resp *http.Response, body []byte) Answer {
	a := Answer{Status: resp.StatusCode, Result: Failed}
	a.Exclude = len(resp.Header["X-Envoy-Immediate-Health-Check-Fail"]) > 0
	expected := resp.StatusCode == http.StatusOK
	if len(p.s.Expected) > 0 {
		expected = in(p.s.Expected, resp.StatusCode)
	}
	switch {
	case !expected:
		a.Retriable = in(p.s.Retriable, resp.StatusCode)
	case !contains(body, p.s.Receive):
	default:
		a.Result = Passed
		a.Degraded = len(resp.Header["X-Envoy-Degraded"]) > 0
	}
	if p.s.Service != nil && a.Result == Passed {
		a.Verified = true
		if !p.s.Service(resp.Header.Get("x-envoy-upstream-healthchecked-cluster")) {
			a.Result = Failed
		}
	}
	return a
}

// contains tells whether parts are in b, in their order.
func contains(b []byte, parts [][]byte) bool {
	for _, part := range parts {
		i := bytes.Index(b, part)
		if i < 0 {
			return false
		}
		b = b[i+len(part):]
	}
	return true
}
