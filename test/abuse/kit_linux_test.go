package abuse

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	_ "github.com/weftmesh/weft/cmd/dataplane" // what the binary is made of: results of another one are no results
	"github.com/weftmesh/weft/test/freeport"
)

// patience is how long a test waits for what must come: on a machine with many other things to
// do nothing comes soon, and the collector of an idle process comes by itself after two minutes.
const patience = 4 * time.Minute

// soak tells whether the long form was asked for.
var soak = os.Getenv("WEFT_SOAK") != ""

// binary is the real one, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weft-abuse-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "weft-proxy")
	out, err := exec.Command("go", "build", "-o", path, "github.com/weftmesh/weft/cmd/weft-proxy").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// proxy is one process with listeners `plain` and `secure` (mutual TLS) in front of
// an upstream.
type proxy struct {
	t             *testing.T
	dir           string
	plain, secure string
	admin         string
	tls           *tls.Config // of a client
	cmd           *exec.Cmd
	done          chan struct{}
	out           output
}

// output is what a process has said so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (p *proxy) log() string { return p.out.String() }

// cpu is the CPU time that the process has used.
func (p *proxy) cpu() time.Duration {
	p.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		p.t.Fatalf("the proxy has died: %v", err)
	}
	var sum time.Duration
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil {
			first, _, _ := strings.Cut(string(raw), " ")
			n, _ := strconv.ParseInt(first, 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

// setup is how a proxy differs from the plain one. All are YAML.
type setup struct {
	upstream string   // host:port; "": one that answers "hello"
	hcm      string   // further fields of the connection managers, ", a: b"
	listener string   // further fields of the listeners, ", a: b"
	chain    string   // further fields of the filter chains
	cluster  string   // further fields of the cluster
	idle     string   // for how long the cluster's connections may be idle; "": 2s
	routes   string   // further routes, before the one to the cluster
	clusters string   // further clusters, each on a line of its own
	top      string   // further fields of the bootstrap
	env      []string // of the process
}

func start(t *testing.T, s setup) *proxy {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, dir: t.TempDir(), plain: freeport.Addr(t), secure: freeport.Addr(t), admin: freeport.Addr(t), done: make(chan struct{})}
	p.certificates()
	if s.upstream == "" {
		s.upstream = hello(t)
	}
	bootstrap := filepath.Join(p.dir, "bootstrap.yaml")
	if err := os.WriteFile(bootstrap, []byte(p.yaml(&s)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(path, "-c", bootstrap, "--port-merged", "0", "--port-health", "0", "--port-prometheus", "0")
	p.cmd.Env = append(os.Environ(), s.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.done
		if t.Failed() {
			t.Logf("pid %d:\n%s", p.cmd.Process.Pid, p.out.String())
		}
	})
	p.until("it is ready", func() bool {
		res, err := http.Get("http://" + p.admin + "/ready")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == 200
	})
	return p
}

// hello is an upstream that answers every request.
func hello(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// until waits for a state.
func (p *proxy) until(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			p.t.Fatalf("never: %s", what)
		}
		select {
		case <-p.done:
			p.t.Fatalf("before %s: the proxy has died:\n%s", what, p.out.String())
		case <-time.After(20 * time.Millisecond):
		case <-p.t.Context().Done():
			p.t.FailNow()
		}
	}
}

// ask sends one request on a connection of its own; the status, or an error.
func (p *proxy) ask(addr, path string) (int, error) {
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if addr == p.secure {
		nc = tls.Client(nc, p.tls)
	}
	if _, err := fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", path); err != nil {
		return 0, err
	}
	all, err := io.ReadAll(nc)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(all), " ")
	code, _, _ := strings.Cut(rest, " ")
	return strconv.Atoi(code)
}

// answers fails the test when another client, whose upstream is another one, does not
// get its answer. A client that did not get a turn for as long as the proxy waits for it is
// thrown out like others, and comes again.
func (p *proxy) answers() {
	p.t.Helper()
	for _, addr := range []string{p.plain, p.secure} {
		status, err := p.ask(addr, "/other")
		for tries := 1; tries < 10 && (err != nil || status == 408); tries++ {
			status, err = p.ask(addr, "/other")
		}
		if status != 200 || err != nil {
			p.t.Fatalf("another client was answered %d, %v", status, err)
		}
	}
}

// memory is what the process holds of its own, in bytes.
func (p *proxy) memory() int {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatalf("the proxy has died: %v\n%s", err, p.out.String())
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "RssAnon:" {
			n, _ := strconv.Atoi(f[1])
			return n << 10
		}
	}
	p.t.Fatal("no RssAnon")
	return 0
}

// descriptors is how many the process has open.
func (p *proxy) descriptors() int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(list)
}

// limitFiles changes the process's limit of open files.
func (p *proxy) limitFiles(n int) {
	p.t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		p.t.Fatal(err)
	}
	old.Cur = uint64(n)
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
		p.t.Fatal(err)
	}
}

// stat is one statistic of the admin API.
func (p *proxy) stat(name string) int {
	p.t.Helper()
	res, err := http.Get("http://" + p.admin + "/stats")
	if err != nil {
		p.t.Fatalf("the admin API does not answer: %v", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if n, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && n == name {
			i, _ := strconv.Atoi(v)
			return i
		}
	}
	return 0
}

// certificates writes a root that is the certificate of both sides.
func (p *proxy) certificates() {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"test"},
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		p.t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(filepath.Join(p.dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	p.tls = &tls.Config{RootCAs: roots, ServerName: "test", Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func address(hostPort string) string {
	host, port, _ := net.SplitHostPort(hostPort)
	return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
}

func (p *proxy) yaml(s *setup) string {
	socket := fmt.Sprintf(`, transport_socket: {name: tls, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true,
      common_tls_context: {
        alpn_protocols: [h2, http/1.1],
        tls_certificates: [{certificate_chain: {filename: %[1]s/cert.pem}, private_key: {filename: %[1]s/key.pem}}],
        validation_context: {trusted_ca: {filename: %[1]s/cert.pem}}}}}`, p.dir)
	listener := func(name, addr, socket string) string {
		return fmt.Sprintf(`
  - {name: %s, address: %s, filter_chains: [{filters: [{name: hcm, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: %s,
      route_config: {name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {path: /other}, route: {cluster: other}},%s
        {match: {prefix: /}, route: {cluster: up, timeout: 0s}}]}]}%s,
      http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]%s%s}]%s}`,
			name, address(addr), name, s.routes, s.hcm, socket, s.chain, s.listener)
	}
	idle := `, connect_timeout: 120s, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {idle_timeout: ` + cmp.Or(s.idle, "2s") + `}, explicit_http_config: {http_protocol_options: {}}}}`
	return "admin: {address: " + address(p.admin) + "}\nstatic_resources:\n  listeners:" +
		listener("plain", p.plain, "") + listener("secure", p.secure, socket) +
		"\n  clusters:\n  - {name: up, type: STATIC, " + endpoint("up", s.upstream) + idle + s.cluster + "}\n  - {name: other, type: STATIC, " + endpoint("other", hello(p.t)) + idle + "}\n" + s.clusters + s.top + "\n"
}

func endpoint(cluster, addr string) string {
	return fmt.Sprintf("load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}", cluster, address(addr))
}
