package control

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const entry = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.example]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: ADDRESS}]
`

// TestAlone runs a control plane from a folder, as `weft control --config DIR
// --xds-plaintext --monitoring` does, and is one of Istio's proxies to it.
func TestAlone(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	write := func(address string) {
		t.Helper()
		tmp := filepath.Join(dir, "tmp.yaml")
		err := errors.Join(os.MkdirAll(conf, 0o700), os.WriteFile(tmp, []byte(strings.ReplaceAll(entry, "ADDRESS", address)), 0o600),
			os.Rename(tmp, filepath.Join(conf, "web.yaml")))
		if err != nil {
			t.Fatal(err)
		}
	}
	write("10.1.1.1")
	c := runAlone(t, Options{Config: []string{conf}, Monitoring: freeport.Addr(t)})
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	stream := c.stream
	name := wire.ClusterName(wire.Outbound, 80, "", "web.example")
	if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{
		Node:    &corev3.Node{Id: "sidecar~10.0.0.1~a-0.shop~shop.svc.cluster.local", Metadata: wire.NodeMetadata{Namespace: "shop"}.Struct()},
		TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: []string{name},
	}); err != nil {
		t.Fatal(err)
	}
	next := func(address string) {
		t.Helper()
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.GetResources()) != 1 || !strings.Contains(string(r.GetResources()[0].GetResource().GetValue()), address) {
			t.Errorf("got %v, want the endpoint %s of %s", r, address, name)
		}
		if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResponseNonce: r.GetNonce()}); err != nil {
			t.Fatal(err)
		}
	}
	next("10.1.1.1")
	write("10.1.1.2")
	next("10.1.1.2")

	_, err := capb.NewIstioCertificateServiceClient(c.conn).CreateCertificate(t.Context(), &capb.IstioCertificateRequest{Csr: "x"})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a certificate in plain text: %v, want that there is no such service", err)
	}
	for path, want := range map[string]struct {
		code int
		says string
	}{
		"/metrics": {200, "pilot_xds 1"}, "/ready": {200, "ready"}, "/debug/pprof/": {200, "heap"}, "/v1/objects": {404, ""}, "/v1/config": {404, ""},
	} {
		resp, err := http.Get("http://" + c.Monitoring + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want.code || !strings.Contains(string(text), want.says) {
			t.Errorf("%s: %d %q %v, want %d and %q", path, resp.StatusCode, text, err, want.code, want.says)
		}
	}
}
