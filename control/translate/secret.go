package translate

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/tlsctx"
)

// secrets makes the resources of the Secret "namespace/name", if the proxy may
// have it: it has to be of its own namespace, or to be named by what has seen to
// it that it may be used (model.GatewaySecret).
func secrets(v *scope.View, name string) []*tlsv3.Secret {
	s := v.Index.Secret(name)
	if s == nil || s.Key.Namespace != v.Proxy.Namespace() && !model.Granted(name) {
		return nil
	}
	inline := func(b model.PrivateBytes) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	var out []*tlsv3.Secret
	if len(s.Cert) > 0 && !strings.HasPrefix(name, model.SecretCA) {
		out = append(out, &tlsv3.Secret{
			Name: tlsctx.SecretName(name),
			Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: inline(s.Cert), PrivateKey: inline(s.PrivateKey),
			}},
		})
	}
	if pem, crl := v.ClientCA(name); len(pem) > 0 {
		ca := &tlsv3.CertificateValidationContext{TrustedCa: inline(pem)}
		if len(crl) > 0 {
			ca.Crl = inline(crl)
		}
		out = append(out, &tlsv3.Secret{
			Name: tlsctx.SecretName(name) + tlsctx.CASuffix,
			Type: &tlsv3.Secret_ValidationContext{ValidationContext: ca},
		})
	}
	return out
}
