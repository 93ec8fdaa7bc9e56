package listener

import (
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
)

// TestServerTLSFromFiles: certificates of two kinds, a CRL, and clients that need
// not verify.
func TestServerTLSFromFiles(t *testing.T) {
	ctx, failed := (&Builder{v: &scope.View{Mesh: model.DefaultMesh()}}).serverTLS(&model.ServerTLS{
		Mode: model.TLSMutual, CertFile: "rsa.pem", KeyFile: "rsa.key", MoreFiles: []model.CertFiles{{Cert: "ec.pem", Key: "ec.key"}},
		CAFile: "ca.pem", CRLFile: "crl.pem", Insecure: true,
	}, model.HTTPS)
	if failed != "" {
		t.Fatal(failed)
	}
	var files []string
	for _, c := range ctx.CommonTlsContext.TlsCertificates {
		files = append(files, c.CertificateChain.GetFilename(), c.PrivateKey.GetFilename())
	}
	v := ctx.CommonTlsContext.GetValidationContext()
	files = append(files, v.TrustedCa.GetFilename(), v.Crl.GetFilename())
	for i, want := range []string{"rsa.pem", "rsa.key", "ec.pem", "ec.key", "ca.pem", "crl.pem"} {
		if i >= len(files) || files[i] != want {
			t.Fatalf("files are %q, want %q at %d", files, want, i)
		}
	}
	if v.TrustChainVerification != tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED || !ctx.RequireClientCertificate.GetValue() {
		t.Errorf("verification %v, required %v", v.TrustChainVerification, ctx.RequireClientCertificate)
	}
}
