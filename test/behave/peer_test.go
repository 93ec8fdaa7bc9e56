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
)

// Ports of the program in each workload.
const (
	portHTTP   = 9080 // HTTP/1.1, HTTP/2 in plain text, gRPC
	portLocal  = 9081 // the same, on loopback only
	portHTTPS  = 9443
	portTCP    = 9000 // lines
	portUDP    = 9001
	portZipkin = 9411
	portGRPC   = 9070
	portHTTP2  = 9050
	portAuto   = 9060
	portOther  = 9082 // HTTP, which no base service names
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
	spans []json.RawMessage
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
	go func() { failed <- p.serveLines() }()
	go func() { failed <- p.serveDatagrams() }()
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ask", p.ask)
	mux.HandleFunc("POST /seen", p.told)
	mux.HandleFunc("POST /spans", p.spanList)
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
// status=503, wait=1s, flaky=N (only the Nth request of this agent succeeds), set=Name:Value.
func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	port := 0
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		port = a.Port
	}
	if port == portZipkin {
		p.collect(raw)
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

// collect keeps the spans that a tracer sends.
func (p *peer) collect(raw []byte) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spans) < 10_000 {
		p.spans = append(p.spans, list...)
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
			for s := bufio.NewScanner(nc); s.Scan(); {
				fmt.Fprintf(nc, "%s %s %s\n", p.name, p.version, s.Text())
			}
		}()
	}
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
