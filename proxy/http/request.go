package http

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// seen is what one pass over a request's head finds.
type seen struct {
	forwardedFor, forwardedProto, clientCert, requestID bool
	envoy                                               bool // some x-envoy- header
	expect, via                                         bool
}

// survey looks at all fields once.
func (s *call) survey(h *filter.Headers) (f seen) {
	for i := range h.Len() {
		fd := h.At(i)
		switch fd.Name {
		case "x-forwarded-for":
			f.forwardedFor = true
		case "x-forwarded-proto":
			f.forwardedProto = true
		case "x-forwarded-client-cert":
			f.clientCert = true
		case "x-request-id":
			f.requestID = true
		case "expect":
			f.expect = true
		case "via":
			f.via = true
		case "content-type":
			s.info.GRPC = isGRPC(fd.Value)
		default:
			if strings.HasPrefix(fd.Name, "x-envoy-") {
				f.envoy = true
			}
		}
	}
	return f
}

func isGRPC(contentType string) bool {
	const t = "application/grpc"
	return strings.HasPrefix(contentType, t) && (len(contentType) == len(t) || contentType[len(t)] == '+' || contentType[len(t)] == ';')
}

// admit checks a request's head and makes it what the filters and the upstream
// may see. false: the reply answers it.
func (s *call) admit() (filter.LocalReply, bool) {
	h, cfg := s.req, &s.m.cfg
	f := s.survey(h)
	if h.Protocol != "" {
		s.upgrade = h.Protocol
	} else if h.Method == "CONNECT" {
		s.upgrade = "CONNECT"
	}
	if f.expect {
		s.expect100(h)
	}
	if h.Authority == "" {
		return refused(400, "missing_host_header"), false
	}
	s.trimHost(h)
	if h.Method != "CONNECT" {
		if l, ok := s.checkPath(h); !ok {
			return l, false
		}
	}
	if h.Scheme == "https" && !s.c.two && cfg.UseRemoteAddress && cfg.XFFTrustedHops == 0 && s.c.info.TLS == nil {
		return refused(403, "http1.invalid_scheme"), false // a request target of https:// in plain text
	}
	internal, reject := s.whereFrom(h, &f)
	if reject != 0 {
		return refused(reject, "rejected_because_original_ip_could_not_be_detected"), false
	}
	s.trusted = internal
	if f.envoy {
		s.dropPrivate(h, internal)
	}
	switch {
	case internal:
		h.Set("x-envoy-internal", "true")
	case cfg.UseRemoteAddress && s.info.Remote.IsValid():
		h.Set("x-envoy-external-address", h.Kept(s.info.Remote.Addr().AppendTo(h.Buffer())))
	}
	if !cfg.NoRequestID {
		s.requestID(h, &f, !internal && cfg.UseRemoteAddress)
	}
	s.clientCert(h, f.clientCert)
	if cfg.Via != "" {
		appendTo(h, "via", cfg.Via, ", ")
	}
	return filter.LocalReply{}, true
}

func refused(status int, details string) filter.LocalReply {
	return filter.LocalReply{Status: status, GRPCStatus: -1, Details: details}
}

// expect100 tells the client to go on, so that it does not wait for the upstream.
func (s *call) expect100(h *filter.Headers) {
	if s.m.cfg.Proxy100Continue || !strings.EqualFold(h.Get("expect"), "100-continue") {
		return
	}
	h.Del("expect")
	var go100 filter.Headers
	go100.Status = 100
	s.c.cd.Interim(s.id, &go100)
}

// trimHost normalises the authority.
func (s *call) trimHost(h *filter.Headers) {
	cfg := &s.m.cfg
	if cfg.StripPort == StripNone && !cfg.StripTrailingHostDot {
		return
	}
	host, port := splitPort(h.Authority)
	if cfg.StripTrailingHostDot && strings.HasSuffix(host, ".") {
		host = host[:len(host)-1]
		h.Authority = host
		if port != "" {
			h.Authority = host + ":" + port
		}
	}
	if port == "" || h.Method == "CONNECT" {
		return
	}
	if cfg.StripPort == StripAny || cfg.StripPort == StripMatching && portIs(port, s.c.info.Local.Port()) {
		h.Authority = host
	}
}

// splitPort cuts the port off an authority, "" when there is none.
func splitPort(authority string) (host, port string) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.IndexByte(authority[i:], ']') >= 0 {
		return authority, ""
	}
	return authority[:i], authority[i+1:]
}

func portIs(s string, port uint16) bool {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 65535 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n == int(port)
}

// whereFrom settles the client's address and scheme and tells whether the
// request comes from inside.
func (s *call) whereFrom(h *filter.Headers, f *seen) (internal bool, reject int) {
	cfg, ci := &s.m.cfg, s.c.info
	peer := ci.Remote.Addr()
	var client netip.Addr
	single := false
	if cfg.UseRemoteAddress {
		single = !f.forwardedFor
		if cfg.XFFTrustedHops > 0 && f.forwardedFor {
			client, _ = lastForwarded(h, cfg.XFFTrustedHops-1)
		}
		if !client.IsValid() {
			client = peer
		}
		if !cfg.SkipXFFAppend {
			if peer == loopback4 || peer == loopback6 {
				appendAddr(h, "x-forwarded-for", ci.Local.Addr())
			} else {
				appendAddr(h, "x-forwarded-for", peer)
			}
		}
		if cfg.XFFTrustedHops == 0 || !f.forwardedProto {
			h.Set("x-forwarded-proto", s.c.scheme())
		}
	} else {
		switch {
		case len(cfg.Detect) > 0:
			if client, single, reject = s.detect(h); reject != 0 {
				return false, reject
			}
		case f.forwardedFor:
			client, single = lastForwarded(h, cfg.XFFTrustedHops)
		}
		if !f.forwardedProto {
			h.Add("x-forwarded-proto", s.c.scheme())
		}
	}
	if h.Scheme == "" {
		h.Scheme = s.c.scheme()
		if p := h.Get("x-forwarded-proto"); p == "https" || p == "http" {
			h.Scheme = p
		}
	}
	if cfg.AppendPort {
		h.Set("x-forwarded-port", h.Kept(strconv.AppendUint(h.Buffer(), uint64(ci.Local.Port()), 10)))
	}
	if cfg.Scheme != "" {
		h.Scheme = cfg.Scheme
		h.Set("x-forwarded-proto", cfg.Scheme)
	}
	if !client.IsValid() {
		return false, 0
	}
	if client != peer {
		s.info.Remote = netip.AddrPortFrom(client, 0)
	}
	return single && within(cfg.InternalCIDRs, client), 0
}

// A client at one of these has no address that means anything to others.
var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (c *conn) scheme() string {
	if c.info.TLS != nil {
		return "https"
	}
	return "http"
}

// lastForwarded returns the address in x-forwarded-for after skip others, from
// the right; single: it is the only one.
func lastForwarded(h *filter.Headers, skip int) (netip.Addr, bool) {
	list, _ := h.Joined("x-forwarded-for")
	single := strings.IndexByte(list, ',') < 0
	for ; skip > 0; skip-- {
		i := strings.LastIndexByte(list, ',')
		if i < 0 {
			return netip.Addr{}, false
		}
		list = list[:i]
	}
	list = strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
	if a, err := netip.ParseAddr(list); err == nil {
		return a.Unmap(), single
	}
	if ap, err := netip.ParseAddrPort(list); err == nil {
		return ap.Addr().Unmap(), single
	}
	return netip.Addr{}, false
}

// appendAddr appends an address to a list field.
func appendAddr(h *filter.Headers, name string, a netip.Addr) {
	old, _ := h.Joined(name)
	b := h.Buffer()
	if old != "" {
		b = append(append(b, old...), ',')
	}
	h.Set(name, h.Kept(a.AppendTo(b)))
}

// appendTo appends a value to a list field.
func appendTo(h *filter.Headers, name, value, sep string) {
	old, ok := h.Joined(name)
	if !ok || old == "" {
		h.Set(name, value)
		return
	}
	b := append(h.Buffer(), old...)
	b = append(append(b, sep...), value...)
	h.Set(name, h.Kept(b))
}

// private are the x-envoy- headers that only internal requests may have.
var private = [...]string{
	"x-envoy-retriable-status-codes", "x-envoy-retriable-header-names", "x-envoy-retry-on", "x-envoy-retry-grpc-on",
	"x-envoy-max-retries", "x-envoy-upstream-alt-stat-name", "x-envoy-upstream-rq-timeout-ms",
	"x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
	"x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-ip-tags", "x-envoy-original-url",
	"x-envoy-hedge-on-per-try-timeout",
}

// edge are those that a proxy which is the first does not take from anybody outside.
var edge = [...]string{
	"x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-original-path", "x-envoy-original-host",
	"x-envoy-external-address",
}

// dropPrivate removes what a request from outside may not say.
func (s *call) dropPrivate(h *filter.Headers, internal bool) {
	if op, ok := h.Lookup("x-envoy-decorator-operation"); ok {
		if !s.m.cfg.Outbound && (internal || !s.m.cfg.UseRemoteAddress) {
			s.info.Operation = op
		}
		h.Del("x-envoy-decorator-operation")
	}
	h.Del("x-envoy-internal")
	if internal {
		return
	}
	if s.m.cfg.UseRemoteAddress {
		for _, name := range edge {
			h.Del(name)
		}
	}
	for _, name := range private {
		if name == "x-envoy-expected-rq-timeout-ms" && s.m.cfg.RespectExpectedTimeout && !s.m.cfg.UseRemoteAddress {
			continue
		}
		h.Del(name)
	}
}

// random draws a number for decisions that need no secrecy.
func random() uint64 { return rand.Uint64() } //nolint:gosec // load balancing, fractions, request ids

// requestID keeps or makes x-request-id. edge: the request comes from outside
// of the mesh, whose ids are not kept unless configured.
func (s *call) requestID(h *filter.Headers, f *seen, edge bool) {
	if f.requestID && (!edge || s.m.cfg.KeepRequestID) {
		s.info.RequestID = h.Get("x-request-id")
		return
	}
	id := h.Kept(appendUUID(h.Buffer(), rand.Uint64(), rand.Uint64())) //nolint:gosec // an id, not a secret
	h.Set("x-request-id", id)
	s.info.RequestID = id
}

// appendUUID appends a version 4 UUID.
func appendUUID(b []byte, hi, lo uint64) []byte {
	const digits = "0123456789abcdef"
	hi = hi&^(0xf<<12) | 4<<12
	lo = lo&^(3<<62) | 2<<62
	for i := range 32 {
		if i == 8 || i == 12 || i == 16 || i == 20 {
			b = append(b, '-')
		}
		v := hi
		if i >= 16 {
			v = lo
		}
		b = append(b, digits[v>>(60-4*(i%16))&15])
	}
	return b
}

// clientCert treats x-forwarded-client-cert as configured.
func (s *call) clientCert(h *filter.Headers, has bool) {
	const name = "x-forwarded-client-cert"
	mutual := s.c.info.TLS != nil && len(s.c.info.TLS.PeerCertificates) > 0
	mode := s.m.cfg.ForwardClientCert
	switch {
	case mode == CertAlwaysForwardOnly || mode == CertForwardOnly && mutual:
		return
	case !mutual || mode == CertSanitize || mode == CertForwardOnly:
		if has {
			h.Del(name)
		}
		return
	}
	own := s.c.ownClientCert()
	if mode == CertAppendForward {
		appendTo(h, name, own, ",")
	} else {
		h.Set(name, own)
	}
}

// ownClientCert is this hop's element, made once per connection.
func (c *conn) ownClientCert() string {
	if c.xfccMade {
		return c.xfcc
	}
	c.xfccMade = true
	d, cert := c.m.cfg.ClientCertDetails, c.info.TLS.PeerCertificates[0]
	var parts []string
	if c.info.LocalURI != "" {
		parts = append(parts, "By="+c.info.LocalURI)
	}
	sum := sha256.Sum256(cert.Raw)
	parts = append(parts, "Hash="+hex.EncodeToString(sum[:]))
	if d.Cert {
		parts = append(parts, `Cert="`+pemEscaped(cert.Raw)+`"`)
	}
	if d.Chain {
		var all strings.Builder
		for _, p := range c.info.TLS.PeerCertificates {
			all.WriteString(pemEscaped(p.Raw))
		}
		parts = append(parts, `Chain="`+all.String()+`"`)
	}
	if d.Subject {
		parts = append(parts, `Subject="`+strings.ReplaceAll(cert.Subject.String(), `"`, `\"`)+`"`)
	}
	if d.URI {
		for _, u := range cert.URIs {
			parts = append(parts, "URI="+u.String())
		}
		if len(cert.URIs) == 0 {
			parts = append(parts, "URI=") // as in Envoy, the key is there all the same
		}
	}
	if d.DNS {
		for _, n := range cert.DNSNames {
			parts = append(parts, "DNS="+n)
		}
	}
	c.xfcc = strings.Join(parts, ";")
	return c.xfcc
}

// pemEscaped is a certificate as Envoy writes it: PEM, percent-encoded.
func pemEscaped(der []byte) string {
	p := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return strings.ReplaceAll(url.QueryEscape(string(p)), "+", "%20")
}
