package listener

import (
	"strings"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// serverTLS makes the context of a server that ends TLS; failed says why it
// cannot be, "" that it can.
func (b *Builder) serverTLS(t *model.ServerTLS, p model.Protocol) (ctx *tlsv3.DownstreamTlsContext, failed string) {
	common := &tlsv3.CommonTlsContext{}
	if t.Mode == model.TLSIstioMutual {
		common = tlsctx.Mesh(tlsctx.URIs(t.SubjectAltNames))
	}
	if failed := setParams(common, t); failed != "" {
		return nil, failed
	}
	tlsctx.Bound(common, b.meshTLS(t))
	if p.IsHTTP() || p == model.HTTPS || p == model.Unknown {
		common.AlpnProtocols = []string{"h2", "http/1.1"}
	}
	ctx = &tlsv3.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: pb.False()}
	switch t.Mode {
	case model.TLSIstioMutual:
		ctx.RequireClientCertificate = pb.True()
		return ctx, ""
	case model.TLSSimple, model.TLSMutual, model.TLSOptionalMutual:
	default:
		return nil, "the mode does not end TLS"
	}
	if failed := b.certificates(common, t); failed != "" {
		return nil, failed
	}
	if t.Mode == model.TLSSimple && len(t.VerifySPKI) == 0 && len(t.VerifyHash) == 0 {
		return ctx, ""
	}
	if t.Mode == model.TLSMutual {
		ctx.RequireClientCertificate = pb.True()
	}
	return ctx, b.clientValidation(common, t)
}

// meshTLS is what the mesh says of TLS where a server does not.
func (b *Builder) meshTLS(t *model.ServerTLS) *model.TLSParams {
	p := b.v.Mesh.OtherTLS
	if t.Mode == model.TLSIstioMutual {
		p = b.v.Mesh.MeshTLS
	}
	if t.MinVersion != "" {
		p.MinVersion = ""
	}
	return &p
}

// certificates sets the server's own certificates: Secrets, or files. A server
// whose Secret does not exist (yet) is left out: Envoy would hold back the whole
// listener until it comes.
func (b *Builder) certificates(common *tlsv3.CommonTlsContext, t *model.ServerTLS) string {
	if len(t.Credentials) == 0 {
		if t.CertFile == "" || t.KeyFile == "" {
			return "no certificate: neither credentialName nor serverCertificate and privateKey are given"
		}
		common.TlsCertificates = []*tlsv3.TlsCertificate{{
			CertificateChain: tlsctx.File(t.CertFile), PrivateKey: tlsctx.File(t.KeyFile),
		}}
		for _, f := range t.MoreFiles {
			common.TlsCertificates = append(common.TlsCertificates, &tlsv3.TlsCertificate{
				CertificateChain: tlsctx.File(f.Cert), PrivateKey: tlsctx.File(f.Key),
			})
		}
		return ""
	}
	for _, c := range t.Credentials {
		if strings.HasPrefix(c, model.ExternalSecret) {
			ref, failed := b.external(c, "")
			if failed != "" {
				return failed
			}
			common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, ref)
			continue
		}
		name, s := b.v.Credential(c)
		switch {
		case s == nil:
			return "there is no Secret " + name + " (it has to be in the namespace of the gateway's workload)"
		case len(s.Cert) == 0 || len(s.PrivateKey) == 0:
			return "Secret " + name + " has no certificate and key"
		}
		b.out.Secrets[name] = true
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, tlsctx.Secret(name))
	}
	return ""
}

// external refers to a secret of the mesh's SDS server, by its name with a suffix; failed
// says why it cannot be had.
func (b *Builder) external(name, suffix string) (ref *tlsv3.SdsSecretConfig, failed string) {
	p := b.v.Mesh.SecretServer()
	if p == nil {
		return nil, "there is no SDS server for " + name + " (a provider with sds of the mesh configuration)"
	}
	if b.v.Service(p.Service) == nil {
		return nil, "the SDS server " + p.Service + " of provider " + p.Name + " is not visible to proxies of namespace " + b.v.Proxy.Namespace()
	}
	return tlsctx.External(strings.TrimPrefix(name, model.ExternalSecret)+suffix, wire.ClusterName(wire.Outbound, p.Port, "", p.Service), p.Service), ""
}

// clientValidation sets what client certificates are checked against.
func (b *Builder) clientValidation(common *tlsv3.CommonTlsContext, t *model.ServerTLS) string {
	v := &tlsv3.CertificateValidationContext{
		MatchTypedSubjectAltNames: tlsctx.Names(t.SubjectAltNames),
		VerifyCertificateSpki:     t.VerifySPKI,
		VerifyCertificateHash:     t.VerifyHash,
	}
	if t.Insecure {
		v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	}
	secret := t.CACredential
	if secret == "" && len(t.Credentials) > 0 {
		secret = t.Credentials[0]
	}
	if t.CAFile == "" && strings.HasPrefix(secret, model.ExternalSecret) {
		ref, failed := b.external(secret, tlsctx.CASuffix)
		if failed == "" {
			common.ValidationContextType = tlsctx.Combined(v, ref)
		}
		return failed
	}
	if t.CAFile == "" && secret != "" {
		secret, _ = b.v.Credential(secret)
		if ca, _ := b.v.ClientCA(secret); len(ca) == 0 {
			return "Secret " + secret + " has no CA (ca.crt or cacert) to check client certificates with"
		}
		b.out.Secrets[secret] = true
		common.ValidationContextType = tlsctx.Combined(v, tlsctx.CASecret(secret))
		return ""
	}
	if t.CAFile == "" && t.Mode != model.TLSSimple {
		return "client certificates are asked for, but there is no CA to check them with"
	}
	if t.CAFile != "" {
		v.TrustedCa = tlsctx.File(t.CAFile)
		if t.CRLFile != "" {
			v.Crl = tlsctx.File(t.CRLFile)
		}
	}
	common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	return ""
}

func setParams(common *tlsv3.CommonTlsContext, t *model.ServerTLS) string {
	low, ok := tlsctx.Version(t.MinVersion)
	high, ok2 := tlsctx.Version(t.MaxVersion)
	if !ok || !ok2 {
		return "unknown TLS version; use TLSV1_2 or TLSV1_3"
	}
	if low == tlsv3.TlsParameters_TLS_AUTO {
		low = tlsv3.TlsParameters_TLSv1_2
	}
	common.TlsParams = &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: low, TlsMaximumProtocolVersion: high, CipherSuites: t.CipherSuites,
	}
	return ""
}
