package agent

import (
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
	"log/slog"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

const identity = "spiffe://cluster.local/ns/default/sa/reviews"

// authority signs every request with the token "secret" for one identity.
type authority struct {
	capb.UnimplementedIstioCertificateServiceServer
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key: key, root: root}
}

func (a *authority) CreateCertificate(ctx context.Context, r *capb.IstioCertificateRequest) (*capb.IstioCertificateResponse, error) {
	if md, _ := metadata.FromIncomingContext(ctx); strings.Join(md.Get("authorization"), "") != "Bearer secret" {
		return nil, fmt.Errorf("metadata is %v", md)
	}
	b, _ := pem.Decode([]byte(r.Csr))
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		return nil, err
	}
	uri, err := url.Parse(identity)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), URIs: []*url.URL{uri}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.root, csr.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	enc := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return &capb.IstioCertificateResponse{CertChain: []string{enc(der), enc(a.root.Raw)}}, nil
}

// running is an agent beside an Envoy that this program plays, and a control plane.
type running struct {
	*xdstest.Server
	t    *testing.T
	o    Options
	dir  string
	done chan error
}

func runAgent(t *testing.T) *running {
	t.Helper()
	t.Setenv(asEnvoy, "1")
	dir := t.TempDir()
	r := &running{Server: xdstest.New(), t: t, dir: dir, done: make(chan error, 1)}
	r.Set(wire.TypeHost, "reviews.default.svc.cluster.local", &weftpb.Host{Name: "reviews.default.svc.cluster.local"})
	ca := newAuthority(t)
	sock := filepath.Join(dir, "xds")
	if err := r.Listen("unix", sock, func(s *grpc.Server) { capb.RegisterIstioCertificateServiceServer(s, ca) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	b := &wire.Bootstrap{
		Node: wire.NodeID{Type: wire.Sidecar, IP: "10.244.0.5", Name: "reviews-0", Namespace: "default", Domain: "default.svc.cluster.local"},
		Metadata: wire.NodeMetadata{
			Name: "reviews-0", Namespace: "default", WorkloadName: "reviews", ServiceAccount: "reviews", Labels: map[string]string{"app": "reviews"},
		},
		Admin: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freeport.Port(t)), XDSSocket: sock, Token: "secret",
	}
	raw, err := b.YAML()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bootstrap.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r.o = Options{
		XDSSocket: sock, Token: "secret", Version: "test", Level: &slog.LevelVar{}, Log: log,
		Envoy: NewEnvoy(exe, file, filepath.Join(dir, "sds"), filepath.Join(dir, "als"), "warn"),
		Ports: Ports{Merged: freeport.Port(t), Health: freeport.Port(t)},
	}
	if err := r.o.ReadBootstrap(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { r.done <- Run(ctx, r.o) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// ask repeats a question until the answer is as wanted.
func (r *running) ask(port uint16, path string, ok func(status int, body string) bool) string {
	r.t.Helper()
	last := "no answer"
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if last = fmt.Sprintf("%d %s", resp.StatusCode, body); ok(resp.StatusCode, string(body)) {
				return string(body)
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-r.t.Context().Done():
		}
	}
	r.t.Fatalf("%s never answered as wanted: %s", path, last)
	return ""
}

func (r *running) dial(path string) *grpc.ClientConn {
	r.t.Helper()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// TestBesideAnEnvoy drives what the agent gives an Envoy and takes from it.
func TestBesideAnEnvoy(t *testing.T) {
	r := runAgent(t)
	t.Run("it is ready when Envoy is", func(t *testing.T) {
		r.ask(r.o.Ports.Health, "/healthz/ready", func(status int, _ string) bool { return status == http.StatusServiceUnavailable })
		if err := os.WriteFile(filepath.Join(r.dir, "ready"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r.ask(r.o.Ports.Health, "/healthz/ready", func(status int, _ string) bool { return status == http.StatusOK })
	})
	t.Run("Envoy's admin API is on its usual port", func(t *testing.T) {
		r.ask(r.o.Ports.Admin, "/server_info", func(_ int, body string) bool { return strings.Contains(body, "1.40") })
	})
	t.Run("certificates by SDS", r.secrets)
	t.Run("metrics of access logs", r.accessLogs)
	t.Run("sockets are its user's only", func(t *testing.T) {
		for _, path := range []string{r.o.Envoy.SDSSocket, r.o.Envoy.ALSSocket} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s may be opened by others: %v", filepath.Base(path), info.Mode())
			}
		}
	})
}

func (r *running) secrets(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	stream, err := secretv3.NewSecretDiscoveryServiceClient(r.dial(r.o.Envoy.SDSSocket)).StreamSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]*tlsv3.Secret{}
	for _, name := range []string{"default", "ROOTCA"} {
		if err := stream.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{name}, Node: &corev3.Node{Id: "x"}}); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range resp.Resources {
			s := &tlsv3.Secret{}
			if err := a.UnmarshalTo(s); err != nil {
				t.Fatal(err)
			}
			got[s.Name] = s
		}
	}
	own := got["default"].GetTlsCertificate()
	pair, err := tls.X509KeyPair(own.GetCertificateChain().GetInlineBytes(), own.GetPrivateKey().GetInlineBytes())
	if err != nil {
		t.Fatalf("the certificate and its key: %v", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(got["ROOTCA"].GetValidationContext().GetTrustedCa().GetInlineBytes()) {
		t.Fatal("no roots")
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	if len(pair.Leaf.URIs) != 1 || pair.Leaf.URIs[0].String() != identity {
		t.Errorf("the certificate is for %v", pair.Leaf.URIs)
	}
}

func (r *running) accessLogs(t *testing.T) {
	if !r.Until(func(v xdstest.View) bool { return v.Acks(wire.TypeHost) > 0 }, t.Context().Done()) {
		t.Fatal("the agent took no names")
	}
	r.Set(wire.TypeWorkload, "10.244.0.7", &weftpb.Workload{Name: "web", Namespace: "shop", App: "web"})
	stream, err := alspb.NewAccessLogServiceClient(r.dial(r.o.Envoy.ALSSocket)).StreamAccessLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	send := func(name string, m *alspb.StreamAccessLogsMessage) {
		t.Helper()
		if name != "" {
			m.Identifier = &alspb.StreamAccessLogsMessage_Identifier{LogName: name}
		}
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	requests := func(list ...*datav3.HTTPAccessLogEntry) *alspb.StreamAccessLogsMessage {
		return &alspb.StreamAccessLogsMessage{LogEntries: &alspb.StreamAccessLogsMessage_HttpLogs{
			HttpLogs: &alspb.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: list},
		}}
	}
	// The name comes with the first message of a stream only.
	send(wire.Inbound, requests(entry(nil)))
	send("", requests(entry(nil), entry(nil)))
	send("", &alspb.StreamAccessLogsMessage{LogEntries: &alspb.StreamAccessLogsMessage_TcpLogs{
		TcpLogs: &alspb.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: []*datav3.TCPAccessLogEntry{{
			CommonProperties:     entry(nil).CommonProperties,
			ConnectionProperties: &datav3.ConnectionProperties{ReceivedBytes: 100, SentBytes: 200},
		}}},
	}})
	if _, err := stream.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	has := func(body, family, value string, labels ...string) bool {
		for line := range strings.Lines(body) {
			if !strings.HasPrefix(line, family+"{") || !strings.HasSuffix(strings.TrimSpace(line), " "+value) {
				continue
			}
			all := true
			for _, l := range labels {
				all = all && strings.Contains(line, l)
			}
			if all {
				return true
			}
		}
		return false
	}
	body := r.ask(r.o.Ports.Merged, "/stats/prometheus", func(_ int, body string) bool {
		return has(body, "istio_requests_total", "3", `source_workload="web"`) // once the control plane has said who that is
	})
	for _, want := range []struct {
		family, value string
		labels        []string
	}{
		{"istio_requests_total", "3", []string{
			`reporter="destination"`, `source_workload_namespace="shop"`, `source_principal="spiffe://cluster.local/ns/default/sa/web"`,
			`destination_workload="reviews"`, `destination_service="reviews.default.svc.cluster.local"`, `destination_service_name="reviews"`,
			`response_code="200"`, `connection_security_policy="mutual_tls"`, `request_protocol="http"`,
		}},
		{"istio_request_bytes_sum", "30", nil},
		{"istio_response_bytes_sum", "60", nil},
		{"istio_request_duration_milliseconds_sum", "15", nil},
		{"istio_tcp_connections_opened_total", "1", nil},
		{"istio_tcp_connections_closed_total", "1", nil},
		{"istio_tcp_received_bytes_total", "100", nil},
		{"istio_tcp_sent_bytes_total", "200", nil},
		{"envoy_server_live", "1", []string{`format="prometheus"`}},
	} {
		if !has(body, want.family, want.value, want.labels...) {
			t.Errorf("no %s %v %s in:\n%s", want.family, want.labels, want.value, body)
		}
	}
}

// TestEndsWithEnvoy: whoever keeps the agent running has to learn that Envoy is gone.
func TestEndsWithEnvoy(t *testing.T) {
	r := runAgent(t)
	r.ask(r.o.Ports.Admin, "/server_info", func(_ int, body string) bool { return strings.Contains(body, "1.40") })
	c := r.o.Envoy.client()
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://envoy/end")
	if err == nil {
		t.Errorf("Envoy did not end: %s", resp.Status)
		resp.Body.Close()
	}
	err = <-r.done
	r.done <- nil // for the cleanup
	if err == nil || !strings.Contains(err.Error(), "Envoy ended: exit status 7") {
		t.Errorf("Run returned %v", err)
	}
}
