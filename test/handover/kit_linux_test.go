package handover

import (
	"bytes"
	"context"
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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

// patience is how long a test waits for what must come. A machine with many other things to do
// lets nothing come soon.
const patience = 4 * time.Minute

// binary is the real one, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weft-handover-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "weft")
	out, err := exec.Command("go", "build", "-o", path, "github.com/weftmesh/weft/cmd/weft").CombinedOutput()
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

// site is a proxy in all its generations.
type site struct {
	t          *testing.T
	dir        string
	bootstrap  string
	socket     string // where the processes meet
	meet       []string
	http, sec  string
	tcp, admin string
	thrift     string
	client     *tls.Config
	listens    []string // addresses where it listens for TCP
	procs      []*proc
}

// proc is one process.
type proc struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  bytes.Buffer
}

func newSite(t *testing.T, b *backends) *site {
	s := &site{t: t, dir: t.TempDir(), http: freeport.Addr(t), sec: freeport.Addr(t), tcp: freeport.Addr(t), admin: freeport.Addr(t), thrift: freeport.Addr(t)}
	s.bootstrap, s.socket = filepath.Join(s.dir, "bootstrap.yaml"), filepath.Join(s.dir, "handover.sock")
	s.listens = []string{s.http, s.sec, s.tcp, s.thrift}
	s.meet = []string{"--socket-path", s.socket}
	s.certificates()
	if err := os.WriteFile(s.bootstrap, []byte(s.yaml(b)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range s.procs {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			<-p.done
			if t.Failed() {
				t.Logf("pid %d:\n%s", p.cmd.Process.Pid, p.out.String())
			}
		}
	})
	return s
}

// start starts one more process.
func (s *site) start(bootstrap string, more ...string) *proc {
	s.t.Helper()
	path, err := binary()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &proc{done: make(chan struct{})}
	args := append([]string{"proxy", "-c", bootstrap, "--port-merged", "0", "--port-health", "0", "--port-prometheus", "0"}, s.meet...)
	p.cmd = exec.Command(path, append(args, more...)...)
	p.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+s.dir)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.procs = append(s.procs, p)
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p
}

// status asks the process that accepts.
func (s *site) status() (wire.HandoverStatus, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	return wire.AskHandoverStatus(ctx, s.socket)
}

// until waits for a state of the site.
func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			st, err := s.status()
			s.t.Fatalf("never: %s (%+v %v)", what, st, err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.t.Context().Done():
			s.t.FailNow()
		}
	}
}

// ended waits for the end of a process.
func (s *site) ended(p *proc) {
	s.t.Helper()
	s.until(fmt.Sprintf("process %d ends", p.cmd.Process.Pid), func() bool {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	})
}

// generation waits until the n-th process accepts. It may tell its number a moment before.
func (s *site) generation(n int) {
	s.t.Helper()
	s.until(fmt.Sprintf("generation %d accepts", n), func() bool {
		st, err := s.status()
		return err == nil && st.Generation == n
	})
	s.until(fmt.Sprintf("generation %d listens", n), func() bool {
		for _, addr := range s.listens {
			if !slices.ContainsFunc(s.procs, func(p *proc) bool { return holds(p.cmd.Process.Pid, addr) }) {
				return false
			}
		}
		return true
	})
}

// stats are Envoy's by their dotted names, from the admin API.
func (s *site) stats() map[string]int64 {
	s.t.Helper()
	res, err := http.Get("http://" + s.admin + "/stats")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			out[name], _ = strconv.ParseInt(v, 10, 64)
		}
	}
	return out
}

// certificates writes a root, and one certificate for both sides.
func (s *site) certificates() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"test"},
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	s.client = &tls.Config{
		RootCAs: roots, ServerName: "test", Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		CurvePreferences: []tls.CurveID{tls.X25519}, // the hybrid one costs clients as much as all else of a handshake
	}
}

func address(hostPort string) string {
	host, port, _ := net.SplitHostPort(hostPort)
	return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
}

func (s *site) yaml(b *backends) string {
	mtls := fmt.Sprintf(`
    transport_socket: {name: envoy.transport_sockets.tls, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true,
      common_tls_context: {
        tls_certificates: [{certificate_chain: {filename: %[1]s/cert.pem}, private_key: {filename: %[1]s/key.pem}}],
        validation_context: {trusted_ca: {filename: %[1]s/cert.pem}}}}}`, s.dir)
	hcm := func(prefix string) string {
		return fmt.Sprintf(`
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: %s
          upgrade_configs: [{upgrade_type: websocket}]
          route_config: {name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [
            {match: {prefix: /test.Echo/}, route: {cluster: grpc, timeout: 0s}}, {match: {prefix: /}, route: {cluster: web, timeout: 0s}}]}]}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]`, prefix)
	}
	thrift := `
      - name: thrift
        typed_config:
          "@type": type.googleapis.com/weft.wire.v1.MessageProxy
          protocol: thrift
          manager:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: thrift
            route_config: {name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: bytes, timeout: 0s}}]}]}
            http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]`
	listener := func(name, addr, filters, socket string) string {
		return fmt.Sprintf("\n  - name: %s\n    address: %s\n    filter_chains:\n    - filters:%s%s", name, address(addr), filters, socket)
	}
	cluster := func(name, addr, more string) string {
		return fmt.Sprintf("\n  - {name: %s, type: STATIC, connect_timeout: 120s, load_assignment: {cluster_name: %s, endpoints: [{lb_endpoints: [{endpoint: {address: %s}}]}]}%s}",
			name, name, address(addr), more)
	}
	bytes := `
      - {name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: bytes, cluster: bytes}}`
	indent := func(s string) string { return strings.ReplaceAll(s, "\n    transport", "\n      transport") }
	return "admin: {address: " + address(s.admin) + "}\nstatic_resources:\n  listeners:" +
		listener("web", s.http, hcm("web"), "") + listener("secure", s.sec, hcm("secure"), indent(mtls)) + listener("bytes", s.tcp, bytes, indent(mtls)) + listener("thrift", s.thrift, thrift, "") +
		"\n  clusters:" + cluster("web", b.http, "") + cluster("bytes", b.tcp, "") +
		cluster("grpc", b.grpc, `, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`) + "\n"
}
