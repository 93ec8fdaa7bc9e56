package behave

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Ports of the program in each workload.
const (
	portHTTP   = 9080 // HTTP/1.1, HTTP/2 in plain text, gRPC
	portLocal  = 9081 // the same, on loopback only
	portHTTPS  = 9443
	portPeer   = 9444 // HTTPS as a workload of another trust domain
	portTCP    = 9000 // lines
	portHeads  = 9083 // HTTP that answers with the head of the request, as it is spelled
	portUDP    = 9001
	portZipkin = 9411
	portGRPC   = 9070
	portHTTP2  = 9050
	portAuto   = 9060
	portOther  = 9082 // HTTP, which no base service names
	// portCollector takes logs and spans over gRPC: outside's alone.
	portCollector = 9072
)

// saw is what a server says of a request.
type saw struct {
	Name, Version, Method, Host, Path, Proto string
	Port                                     int
	Headers                                  http.Header
	Size                                     int
	SNI                                      string   `json:",omitempty"`
	Client                                   []string `json:",omitempty"` // names in the client's certificate
}

// peer is the program in a workload: it serves, and does what it is asked over a
// unix socket.
type peer struct {
	name, version string

	mu    sync.Mutex
	seen  map[string][]saw // guarded by mu: by user agent, which the runner sets
	tries map[string]int   // guarded by mu: how often a flaky path was asked
	spans []span           // guarded by mu
	notes []string         // guarded by mu: entries of logs, by name
}

// program runs a peer until it is killed: SOCKET, and in the environment VERSION and TLS.
func program(socket string) error {
	p := &peer{name: os.Getenv("POD_NAME"), version: os.Getenv("VERSION"), seen: map[string][]saw{}, tries: map[string]int{}}
	failed := make(chan error)
	plain := func(addr string) {
		s := &http.Server{Addr: addr, Handler: p, Protocols: &http.Protocols{}}
		s.Protocols.SetHTTP1(true)
		s.Protocols.SetUnencryptedHTTP2(true)
		go func() { failed <- s.ListenAndServe() }()
	}
	plain(fmt.Sprintf("127.0.0.1:%d", portLocal))
	for _, port := range []int{portGRPC, portHTTP2, portAuto, portOther, portZipkin} {
		plain(fmt.Sprintf(":%d", port))
	}
	go func() { failed <- p.serveTLS() }()
	go func() { failed <- p.servePartner() }()
	go func() { failed <- serveHeads() }()
	go func() { failed <- p.serveLines() }()
	go func() { failed <- p.serveDatagrams() }()
	if os.Getenv("COLLECT") != "" {
		go func() { failed <- p.serveCollector() }()
	}
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ask", p.ask)
	mux.HandleFunc("POST /seen", p.told)
	mux.HandleFunc("POST /spans", p.spanList)
	mux.HandleFunc("POST /notes", p.noteList)
	go func() { failed <- http.Serve(l, mux) }()
	plain(fmt.Sprintf(":%d", portHTTP)) // last: it is what tells that all is there
	return <-failed
}

func (p *peer) ask(w http.ResponseWriter, r *http.Request) {
	var a ask
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(do(r.Context(), a))
}

// told lists the requests of a user agent.
func (p *peer) told(w http.ResponseWriter, r *http.Request) {
	var agent string
	if err := json.NewDecoder(r.Body).Decode(&agent); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(w).Encode(p.seen[agent])
}

func (p *peer) spanList(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(w).Encode(p.spans)
}

// ServeHTTP answers with what it sees. The query tells it to behave otherwise:
// status=503, wait=1s, flaky=N (only the Nth request of this agent succeeds), set=Name:Value,
// unless=v2 (other versions fail). It is also a forward proxy to its own ports
// (CONNECT, and POST for its port for TLS).
func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		p.tunnel(w, r)
		return
	}
	if r.Method == http.MethodPost && r.TLS == nil && strings.HasSuffix(r.Host, fmt.Sprintf(":%d", portHTTPS)) {
		p.posted(w, r)
		return
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	port := 0
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		port = a.Port
	}
	if port == portZipkin {
		p.collect(raw, r.URL.Path, r.Header.Get("Content-Type"))
		_, _ = io.WriteString(w, "{}")
		return
	}
	s := saw{Name: p.name, Version: p.version, Method: r.Method, Host: r.Host, Path: r.RequestURI, Proto: r.Proto, Port: port, Headers: r.Header, Size: len(raw)}
	if r.TLS != nil {
		s.SNI = r.TLS.ServerName
		if len(r.TLS.PeerCertificates) > 0 {
			s.Client = names(r.TLS.PeerCertificates[0])
		}
	}
	agent := r.UserAgent()
	p.mu.Lock()
	if len(p.seen[agent]) < 10_000 {
		p.seen[agent] = append(p.seen[agent], s)
	}
	p.tries[agent+r.URL.Path]++
	tries := p.tries[agent+r.URL.Path]
	p.mu.Unlock()
	q := r.URL.Query()
	if d, err := time.ParseDuration(q.Get("wait")); err == nil {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	for _, h := range q["set"] {
		k, v, _ := strings.Cut(h, ":")
		w.Header().Add(k, v)
	}
	status := http.StatusOK
	if n, err := strconv.Atoi(q.Get("status")); err == nil {
		status = n
	}
	if n, err := strconv.Atoi(q.Get("flaky")); err == nil && tries%n != 0 {
		status = http.StatusServiceUnavailable
	}
	if v := q.Get("unless"); v != "" && v != p.version {
		status = http.StatusServiceUnavailable
	}
	body, _ := json.Marshal(s)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))))
		_, _ = w.Write(body)
		w.Header().Set("Grpc-Status", "0")
		if g := r.Header.Get("X-Want-Grpc"); g != "" {
			w.Header().Set("Grpc-Status", g)
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// collect keeps the spans that a tracer sends, Zipkin's, OpenTelemetry's or Datadog's.
func (p *peer) collect(raw []byte, path, contentType string) {
	if contentType == "application/msgpack" { // texts can be read in it
		p.keepNote(path + " " + strings.ToValidUTF8(string(raw), "?"))
		return
	}
	if contentType == "application/x-protobuf" {
		var r coltracepb.ExportTraceServiceRequest
		if proto.Unmarshal(raw, &r) == nil {
			p.keepSpans(&r, "otlp-http")
		}
		return
	}
	var list []span
	if json.Unmarshal(raw, &list) != nil {
		return
	}
	for _, s := range list {
		p.keepSpan(s)
	}
}

func (p *peer) keepSpan(s span) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spans) < 10_000 {
		p.spans = append(p.spans, s)
	}
}

// tunnel leads to a port of this program, whatever host a CONNECT names.
func (p *peer) tunnel(w http.ResponseWriter, r *http.Request) {
	_, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	up, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer up.Close()
	w.WriteHeader(http.StatusOK)
	down, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	go func() {
		_, _ = io.Copy(up, buf)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(down, up)
}

// posted is tunnel for a client that uses POST: bytes are the bodies of request and response.
func (p *peer) posted(w http.ResponseWriter, r *http.Request) {
	up, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", portHTTPS))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer up.Close()
	c := http.NewResponseController(w)
	_ = c.EnableFullDuplex() // HTTP/2 is so already
	w.WriteHeader(http.StatusOK)
	_ = c.Flush()
	go func() {
		_, _ = io.Copy(up, r.Body)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := up.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil || c.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// serveTLS serves HTTP over TLS of the program's own.
func (p *peer) serveTLS() error {
	dir := os.Getenv("TLS")
	cert, err := tls.LoadX509KeyPair(dir+"/server.crt", dir+"/server.key")
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(dir + "/ca.crt")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	s := &http.Server{Addr: fmt.Sprintf(":%d", portHTTPS), Handler: p, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool, NextProtos: []string{"h2", "http/1.1"},
	}}
	return s.ListenAndServeTLS("", "")
}

// servePartner serves HTTP as a workload of another trust domain: it shows the certificate
// of one, and wants to see the client's.
func (p *peer) servePartner() error {
	dir := os.Getenv("TLS")
	cert, err := tls.LoadX509KeyPair(dir+"/partner.crt", dir+"/partner.key")
	if err != nil {
		return err
	}
	s := &http.Server{Addr: fmt.Sprintf(":%d", portPeer), Handler: p, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"http/1.1"},
	}}
	return s.ListenAndServeTLS("", "")
}

// serveHeads answers the first request of a connection with its head as it came.
func serveHeads() error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", portHeads))
	if err != nil {
		return err
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			r, head := bufio.NewReader(nc), ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				head += line
			}
			fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(head), head)
		}()
	}
}

// serveLines answers each line with name, version and the line.
func (p *peer) serveLines() error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", portTCP))
	if err != nil {
		return err
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			r := bufio.NewReader(nc)
			said, err := announced(r)
			if err != nil {
				return
			}
			for s := bufio.NewScanner(r); s.Scan(); said = "" {
				fmt.Fprintf(nc, "%s %s %s%s\n", p.name, p.version, said, s.Text())
			}
		}()
	}
}

// announced reads a header of PROXY protocol's version 2 (the first version's is a line
// like others), and says what it says.
func announced(r *bufio.Reader) (string, error) {
	if first, err := r.Peek(1); err != nil || first[0] != '\r' {
		return "", err
	}
	head := make([]byte, 16)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	rest := make([]byte, binary.BigEndian.Uint16(head[14:]))
	if _, err := io.ReadFull(r, rest); err != nil {
		return "", err
	}
	if head[13] != 0x11 || len(rest) < 12 { // TCP over IPv4
		return fmt.Sprintf("PROXY2 %x %x ", head, rest), nil
	}
	return fmt.Sprintf("PROXY2 %s %s %d ", net.IP(rest[:4]), net.IP(rest[4:8]), binary.BigEndian.Uint16(rest[10:])), nil
}

func (p *peer) serveDatagrams() error {
	pc, err := net.ListenPacket("udp", fmt.Sprintf(":%d", portUDP))
	if err != nil {
		return err
	}
	b := make([]byte, 1500)
	for {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			return err
		}
		_, _ = pc.WriteTo(fmt.Appendf(nil, "%s %s %s", p.name, p.version, b[:n]), from)
	}
}
