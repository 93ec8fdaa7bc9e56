package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

// selfSigned makes a certificate that is its own root.
func selfSigned(t *testing.T, uri string) (*transport.Certificate, *transport.Trust) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{u}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c, err := transport.ParseCertificate(chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := transport.ParseTrust(chain)
	if err != nil {
		t.Fatal(err)
	}
	return c, tr
}

const me = "spiffe://cluster.local/ns/default/sa/me"

// permissive is Istio's inbound listener of one port: mutual TLS of the mesh,
// HTTP, and anything else.
func permissive(t *testing.T, addr netip.AddrPort) (*Listener, map[string]*greeter, *transport.ClientTLS) {
	t.Helper()
	cert, trust := selfSigned(t, me)
	tc := transport.TLSContext{
		Certs: []*transport.Certificate{cert}, Validation: transport.Validation{Trust: trust}, RequireClientCert: true, ALPN: []string{"istio"},
	}
	server, err := transport.NewServerTLS(transport.NewSecretStore(), tc)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := transport.NewClientTLS(transport.NewSecretStore(), tc)
	if err != nil {
		t.Fatal(err)
	}
	gs := map[string]*greeter{}
	chain := func(name string, m Match) *FilterChain {
		gs[name] = newGreeter(name)
		return &FilterChain{Name: name, Match: m, Terminal: gs[name]}
	}
	mtls := chain("mtls", Match{TransportProtocol: ProtoTLS, ApplicationProtocols: []string{"istio"}})
	mtls.TLS = server
	l := tcpListener("inbound", addr,
		mtls,
		chain("tls", Match{TransportProtocol: ProtoTLS}),
		chain("http", Match{TransportProtocol: ProtoRaw, ApplicationProtocols: []string{ProtoHTTP0, ProtoHTTP1, ProtoH2C}}),
		chain("raw", Match{TransportProtocol: ProtoRaw}),
		chain("database", Match{DestinationPort: 3306}))
	l.Inspectors = []Inspector{{Kind: OriginalDst}, {Kind: TLSInspector}, {Kind: HTTPInspector}}
	l.InspectTimeout, l.ContinueOnTimeout = patience, true
	return l, gs, cl
}

func TestPermissive(t *testing.T) {
	m := start(t, Options{})
	addr := freePort(t)
	l, gs, cl := permissive(t, addr)
	setAll(t, m, l)

	nc, err := cl.Handshake(t.Context(), dial(t, tcp(addr)).Conn, transport.ClientHello{SNI: "Me.default"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	secure := &client{t, nc}
	if g := secure.line(); g != "mtls" {
		t.Fatalf("greeting %q", g)
	}
	secure.say("x\n")
	if g := secure.line(); g != "x" {
		t.Errorf("echo %q", g)
	}
	info := <-gs["mtls"].infos
	if info.PeerURI != me || info.LocalURI != me || info.ALPN != "istio" || info.SNI != "Me.default" && info.SNI != "me.default" || info.TLS == nil {
		t.Errorf("info: peer %q, local %q, alpn %q, sni %q", info.PeerURI, info.LocalURI, info.ALPN, info.SNI)
	}
	for first, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n": "http",
		h2Preface:                "http",
		"SET a b\r\n":            "raw",
		"\x00\x01":               "raw",
		string(clientHello(t, &tls.Config{ServerName: "x", NextProtos: []string{"h2"}})): "tls",
	} {
		c := dial(t, tcp(addr))
		c.say(first[:1])
		c.say(first[1:])
		if g := c.line(); g != want {
			t.Errorf("%.20q: chain %q, want %q", first, g, want)
		}
		echo := make([]byte, len(first))
		if _, err := readFull(c, echo); err != nil || string(echo) != first {
			t.Errorf("%.20q: what was looked at came back as %q, %v", first, echo, err)
		}
	}
}

func readFull(c *client, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		m, err := c.Read(b[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// redirect stands for the kernel's connection tracking.
type redirect struct {
	dst atomic.Pointer[netip.AddrPort]
}

func (r *redirect) set(s string) {
	if s == "" {
		r.dst.Store(nil)
		return
	}
	ap := netip.MustParseAddrPort(s)
	r.dst.Store(&ap)
}

func (r *redirect) get(net.Conn, netip.AddrPort) (netip.AddrPort, bool) {
	if p := r.dst.Load(); p != nil {
		return *p, true
	}
	return netip.AddrPort{}, false
}

func TestServerFirst(t *testing.T) {
	var wanted redirect
	wanted.set("10.1.2.3:3306")
	m := start(t, Options{OriginalDst: wanted.get})
	addr := freePort(t)
	l, _, _ := permissive(t, addr)
	setAll(t, m, l)
	// On port 3306 nothing depends on what the client says: it need not speak.
	if g := dial(t, tcp(addr)).line(); g != "database" {
		t.Errorf("greeting %q", g)
	}
	wanted.set("10.1.2.3:5000")
	l2 := *l
	l2.InspectTimeout = 20 * time.Millisecond
	setAll(t, m, &l2)
	if g := dial(t, tcp(addr)).line(); g != "raw" { // and elsewhere it waits for so long
		t.Errorf("greeting after the timeout %q", g)
	}
	l3 := l2
	l3.ContinueOnTimeout = false
	setAll(t, m, &l3)
	if g := dial(t, tcp(addr)).line(); g != "" {
		t.Errorf("greeting %q though the timeout closes", g)
	}
	l4 := *l
	l4.InspectTimeout = 0
	l4.Inspectors = []Inspector{{Kind: OriginalDst}, {Kind: TLSInspector, Disabled: &Predicate{From: 5000, To: 5001}},
		{Kind: HTTPInspector, Disabled: &Predicate{Any: true}}}
	setAll(t, m, &l4)
	if g := dial(t, tcp(addr)).line(); g != "raw" {
		t.Errorf("greeting with inspectors disabled %q", g)
	}
}

func TestHandOff(t *testing.T) {
	var wanted redirect
	m := start(t, Options{OriginalDst: wanted.get})
	addr := freePort(t)
	capture := tcpListener("virtualOutbound", addr, &FilterChain{Terminal: newGreeter("passthrough")})
	capture.UseOriginalDst = true
	capture.Inspectors = []Inspector{{Kind: OriginalDst}}
	virtual := func(name, a string) *Listener {
		l := tcpListener(name, netip.MustParseAddrPort(a), &FilterChain{Terminal: newGreeter(name)})
		l.Virtual = true
		return l
	}
	six := virtual("six", "[::]:90")
	both := virtual("both", "[::]:91")
	both.IPv4Compat = true
	setAll(t, m, capture, virtual("exact", "10.96.0.10:6379"), virtual("port", "0.0.0.0:9080"), six, both)
	for d, want := range map[string]string{
		"10.96.0.10:6379": "exact",
		"10.96.0.11:6379": "passthrough",
		"1.2.3.4:9080":    "port",
		"[fd00::1]:9080":  "passthrough",
		"[fd00::1]:90":    "six",
		"1.2.3.4:90":      "passthrough",
		"1.2.3.4:91":      "both",
		addr.String():     "passthrough",
	} {
		wanted.set(d)
		if g := dial(t, tcp(addr)).line(); g != want {
			t.Errorf("%s: listener %q, want %q", d, g, want)
		}
	}
	wanted.set("")
	if g := dial(t, tcp(addr)).line(); g != "passthrough" {
		t.Errorf("not redirected: listener %q", g)
	}
}

// logs is an access log.
type logs chan string

func (l logs) Log(i *filter.Info) { l <- i.Flags.String() + " " + i.Conn.Termination }

func TestNoChain(t *testing.T) {
	m := start(t, Options{})
	addr := freePort(t)
	l := tcpListener("a", addr, &FilterChain{Match: Match{DestinationPort: 1}, Terminal: newGreeter("one")})
	logged := make(logs, 1)
	l.AccessLogs = []AccessLogger{logged}
	setAll(t, m, l)
	if g := dial(t, tcp(addr)).line(); g != "" {
		t.Errorf("greeting %q", g)
	}
	if i := <-logged; i != "NR filter_chain_not_found" {
		t.Errorf("logged %q", i)
	}
	if n := m.All()[0].Stats.NoChain.Load(); n != 1 {
		t.Errorf("no_filter_chain_match is %d", n)
	}
	l2 := *l
	l2.AccessLogs = nil
	l2.Default = &FilterChain{Terminal: newGreeter("default")}
	setAll(t, m, &l2)
	if g := dial(t, tcp(addr)).line(); g != "default" {
		t.Errorf("greeting %q", g)
	}
}

// gate is a network filter that counts and may refuse.
type gate struct {
	verdict      filter.Verdict
	open, closed chan string
}

func (g *gate) New() filter.NetworkFilter { return g }

func (g *gate) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	g.open <- info.Listener
	return g.verdict
}
func (g *gate) Closed(info *filter.ConnInfo) { g.closed <- info.Listener }

func TestNetworkFilters(t *testing.T) {
	m := start(t, Options{})
	addr := freePort(t)
	pass := &gate{filter.Continue, make(chan string, 9), make(chan string, 9)}
	stop := &gate{filter.Reply, make(chan string, 9), make(chan string, 9)}
	never := &gate{filter.Continue, make(chan string, 9), make(chan string, 9)}
	setAll(t, m, tcpListener("a", addr, &FilterChain{Filters: []filter.NetworkFactory{pass}, Terminal: newGreeter("in")}))
	c := dial(t, tcp(addr))
	if g := c.line(); g != "in" {
		t.Errorf("greeting %q", g)
	}
	c.Close()
	<-pass.open
	<-pass.closed
	setAll(t, m, tcpListener("a", addr, &FilterChain{Filters: []filter.NetworkFactory{pass, stop, never}, Terminal: newGreeter("in")}))
	if g := dial(t, tcp(addr)).line(); g != "" {
		t.Errorf("greeting %q though a filter refused", g)
	}
	for _, g := range []*gate{pass, stop} {
		<-g.open
		<-g.closed
	}
	if len(never.open) != 0 {
		t.Error("a filter after the refusal was asked")
	}
}

// TestStopWithSilentClients ends a manager whose clients say nothing, in all
// stages of an arrival.
func TestStopWithSilentClients(t *testing.T) {
	m := start(t, Options{})
	addr, secure := freePort(t), freePort(t)
	l, _, _ := permissive(t, addr)
	l.InspectTimeout = 0
	cert, _ := selfSigned(t, me)
	server, err := transport.NewServerTLS(transport.NewSecretStore(), transport.TLSContext{Certs: []*transport.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	setAll(t, m, l, tcpListener("secure", secure, &FilterChain{TLS: server, Terminal: newGreeter("x")}))
	dial(t, tcp(addr))
	dial(t, tcp(secure))
	for m.All()[0].Stats.PreActive.Load() == 0 || m.Active() == 0 {
		<-time.After(time.Millisecond)
	}
}
