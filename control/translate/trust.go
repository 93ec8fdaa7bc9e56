package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// trust makes the secret ROOTCA, by which proxies learn whom to trust as soon as that
// changes; nil where the mesh's own authority is not known, as offline. Its content is
// public. Where authorities are bound to trust domains, peers are checked with those of
// their own domain alone.
func trust(s *model.Snapshot) *tlsv3.Secret {
	t := s.Trust()
	if t.Roots == "" {
		return nil
	}
	inline := func(pem string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(pem)}}
	}
	v := &tlsv3.CertificateValidationContext{}
	if t.Domains == nil {
		v.TrustedCa = inline(t.Roots)
	} else {
		c := &tlsv3.SPIFFECertValidatorConfig{}
		for _, d := range pb.Keys(t.Domains) {
			c.TrustDomains = append(c.TrustDomains, &tlsv3.SPIFFECertValidatorConfig_TrustDomain{Name: d, TrustBundle: inline(t.Domains[d])})
		}
		v.CustomValidatorConfig = &corev3.TypedExtensionConfig{Name: "envoy.tls.cert_validator.spiffe", TypedConfig: pb.Any(c)}
	}
	return &tlsv3.Secret{Name: wire.SecretRoot, Type: &tlsv3.Secret_ValidationContext{ValidationContext: v}}
}
