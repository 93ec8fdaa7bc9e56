package istio

import (
	"cmp"
	"slices"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func connectionPool(d *document.Document, at string, p *networkingpb.ConnectionPoolSettings) *model.ConnectionPool {
	if p == nil {
		return nil
	}
	t, h := p.GetTcp(), p.GetHttp()
	out := &model.ConnectionPool{
		MaxConnections:           uint32(t.GetMaxConnections()),
		ConnectTimeout:           duration(d, at+".tcp.connectTimeout", t.GetConnectTimeout()),
		MaxConnectionDuration:    duration(d, at+".tcp.maxConnectionDuration", t.GetMaxConnectionDuration()),
		TCPIdleTimeout:           duration(d, at+".tcp.idleTimeout", t.GetIdleTimeout()),
		Keepalive:                Keepalive(d, at+".tcp.tcpKeepalive", t.GetTcpKeepalive()),
		HTTP1MaxPending:          uint32(h.GetHttp1MaxPendingRequests()),
		HTTP2MaxRequests:         uint32(h.GetHttp2MaxRequests()),
		MaxRequestsPerConnection: uint32(h.GetMaxRequestsPerConnection()),
		MaxRetries:               uint32(h.GetMaxRetries()),
		IdleTimeout:              duration(d, at+".http.idleTimeout", h.GetIdleTimeout()),
		UseClientProtocol:        h.GetUseClientProtocol(),
		MaxConcurrentStreams:     uint32(h.GetMaxConcurrentStreams()),
		PingInterval:             duration(d, at+".http.http2KeepAlive.interval", h.GetHttp2KeepAlive().GetInterval()),
		PingTimeout:              duration(d, at+".http.http2KeepAlive.timeout", h.GetHttp2KeepAlive().GetTimeout()),
	}
	if out.PingTimeout > 0 && out.PingInterval == 0 {
		d.Error(document.CodeMissing, at+".http.http2KeepAlive.interval", "say how often", "is missing")
	}
	switch h.GetH2UpgradePolicy() {
	case networkingpb.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		out.H2Upgrade = 1
		if out.UseClientProtocol {
			d.Invalid(at+".http", "keep one", "only one of useClientProtocol, h2UpgradePolicy: UPGRADE may be set")
		}
	case networkingpb.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
		out.H2Upgrade = 2
	}
	return out
}

// Keepalive converts TCP keepalive settings; nil when there are none.
func Keepalive(d *document.Document, at string, p *networkingpb.ConnectionPoolSettings_TCPSettings_TcpKeepalive) *model.Keepalive {
	if p == nil {
		return nil
	}
	return &model.Keepalive{
		Probes: p.GetProbes(), Time: duration(d, at+".time", p.GetTime()), Interval: duration(d, at+".interval", p.GetInterval()),
	}
}

// secretName makes "namespace/name" of a credential's name.
func secretName(d *document.Document, at, name string) string {
	if name == "" {
		return ""
	}
	trimmed := strings.TrimPrefix(name, "kubernetes://")
	ns, n, ok := strings.Cut(trimmed, "/")
	if !ok {
		ns, n = d.Key.Namespace, trimmed
	}
	if !document.IsLabel(ns) || !document.IsSubdomain(n) {
		d.Invalid(at, "write the name of a Secret", "%q is not the name of a Secret", name)
	}
	return ns + "/" + n
}

// serverSecret is secretName for a gateway's server, which may also have one of an SDS server.
func serverSecret(d *document.Document, at, name string) string {
	if rest, ok := strings.CutPrefix(name, model.ExternalSecret); ok {
		if rest == "" {
			d.Invalid(at, "write sds://NAME", "%q names no secret", name)
		}
		return name
	}
	return secretName(d, at, name)
}

// systemAuthorities in place of a file means those of the system, as no file does.
const systemAuthorities = "system"

func clientTLS(d *document.Document, at string, p *networkingpb.ClientTLSSettings) *model.ClientTLS {
	if p == nil {
		return nil
	}
	ca := p.GetCaCertificates()
	if ca == systemAuthorities {
		ca = ""
	}
	out := &model.ClientTLS{
		Credential: secretName(d, at+".credentialName", p.GetCredentialName()),
		CertFile:   p.GetClientCertificate(), KeyFile: p.GetPrivateKey(), CAFile: ca, CRLFile: p.GetCaCrl(),
		SubjectAltNames: p.GetSubjectAltNames(), SNI: p.GetSni(), Insecure: p.GetInsecureSkipVerify().GetValue(),
	}
	files := out.CertFile != "" || out.KeyFile != "" || out.CAFile != ""
	switch p.GetMode() {
	case networkingpb.ClientTLSSettings_DISABLE:
		out.Mode = model.ClientTLSDisable
	case networkingpb.ClientTLSSettings_SIMPLE:
		out.Mode = model.ClientTLSSimple
	case networkingpb.ClientTLSSettings_MUTUAL:
		out.Mode = model.ClientTLSMutual
		if out.Credential == "" {
			if out.CertFile == "" {
				d.Error(document.CodeMissing, at+".clientCertificate", "name a file, or use credentialName", "is missing for mode MUTUAL")
			}
			if out.KeyFile == "" {
				d.Error(document.CodeMissing, at+".privateKey", "name a file, or use credentialName", "is missing for mode MUTUAL")
			}
		}
	case networkingpb.ClientTLSSettings_ISTIO_MUTUAL:
		out.Mode = model.ClientTLSIstioMutual
		if files || out.Credential != "" {
			d.Invalid(at, "remove them, or use mode: MUTUAL", "mode ISTIO_MUTUAL uses the mesh's own certificates, not those named here")
		}
	}
	if files && out.Credential != "" {
		d.Invalid(at+".credentialName", "keep one", "excludes certificate files")
	}
	return out
}

func serverTLS(d *document.Document, at string, p *networkingpb.ServerTLSSettings) *model.ServerTLS {
	if p == nil {
		return nil
	}
	out := &model.ServerTLS{
		HTTPSRedirect: p.GetHttpsRedirect(),
		Mode:          serverModes[p.GetMode()],
		CertFile:      p.GetServerCertificate(), KeyFile: p.GetPrivateKey(), CAFile: p.GetCaCertificates(),
		CACredential: serverSecret(d, at+".caCertCredentialName", p.GetCaCertCredentialName()),
		CRLFile:      p.GetCaCrl(), Insecure: p.GetInsecureSkipVerify().GetValue(),
		SubjectAltNames: p.GetSubjectAltNames(), CipherSuites: suites(d, at+".cipherSuites", p.GetCipherSuites()),
		VerifySPKI: p.GetVerifyCertificateSpki(), VerifyHash: p.GetVerifyCertificateHash(),
		MinVersion: tlsVersion(p.GetMinProtocolVersion()), MaxVersion: tlsVersion(p.GetMaxProtocolVersion()),
	}
	if c := p.GetCredentialName(); c != "" {
		out.Credentials = append(out.Credentials, serverSecret(d, at+".credentialName", c))
	}
	for i, c := range p.GetCredentialNames() {
		out.Credentials = append(out.Credentials, serverSecret(d, document.At(at+".credentialNames", i), c))
	}
	serverFiles(d, at, p, out)
	if p.GetCredentialName() != "" && len(p.GetCredentialNames()) > 0 {
		d.Invalid(at, "keep one", "only one of credentialName, credentialNames may be set")
	}
	if len(out.Credentials) > 2 {
		d.Invalid(at+".credentialNames", "keep an RSA and an ECDSA certificate", "at most 2 are allowed, got %d", len(out.Credentials))
	}
	if out.MinVersion != "" && out.MaxVersion != "" && out.MinVersion > out.MaxVersion {
		d.Invalid(at+".minProtocolVersion", "", "%s is newer than maxProtocolVersion %s", out.MinVersion, out.MaxVersion)
	}
	return out
}

// suites are the cipher suites that the proxies have, each once. The others are left out, as in
// Istio: a server must not be lost for them.
func suites(d *document.Document, at string, names []string) (out []string) {
	for i, n := range names {
		switch {
		case !slices.Contains(cipherSuites, n) && !suiteExpression(n):
			d.Warn(document.CodeIgnored, document.At(at, i), cmp.Or(document.Suggest(n, cipherSuites), "write one of "+strings.Join(cipherSuites, ", ")), "%q is not one that the proxies have: it is left out", n)
		case !slices.Contains(out, n):
			out = append(out, n)
		}
	}
	return out
}

// suiteExpression tells whether a text is one of OpenSSL's that means several suites ("[A|B]",
// "-A"), which Envoy knows; it is not judged here.
func suiteExpression(suite string) bool {
	return suite == "ALL" || suite != "" && strings.ContainsRune("[+-!@", rune(suite[0]))
}

// serverFiles reads tlsCertificates, and judges what goes with files only.
func serverFiles(d *document.Document, at string, p *networkingpb.ServerTLSSettings, out *model.ServerTLS) {
	list := p.GetTlsCertificates()
	if len(list) > 0 && (out.CertFile != "" || out.KeyFile != "" || len(out.Credentials) > 0) {
		d.Invalid(at+".tlsCertificates", "keep one", "excludes serverCertificate, privateKey, credentialName and credentialNames")
	}
	if len(list) > 2 {
		d.Invalid(at+".tlsCertificates", "keep an RSA and an ECDSA certificate", "at most 2 are allowed, got %d", len(list))
	}
	for i, c := range list {
		field := document.At(at+".tlsCertificates", i)
		if c.GetServerCertificate() == "" {
			d.Error(document.CodeMissing, field+".serverCertificate", "name a file", "is missing")
		}
		if c.GetPrivateKey() == "" {
			d.Error(document.CodeMissing, field+".privateKey", "name a file", "is missing")
		}
		if ca := c.GetCaCertificates(); ca != "" {
			if out.CAFile != "" && out.CAFile != ca {
				d.Invalid(field+".caCertificates", "keep one", "clients are checked with one CA file, and %s is named too", out.CAFile)
			}
			out.CAFile = ca
		}
		if i == 0 {
			out.CertFile, out.KeyFile = c.GetServerCertificate(), c.GetPrivateKey()
		} else {
			out.MoreFiles = append(out.MoreFiles, model.CertFiles{Cert: c.GetServerCertificate(), Key: c.GetPrivateKey()})
		}
	}
	if out.CRLFile != "" && out.CAFile == "" {
		d.Invalid(at+".caCrl", "put ca.crl into the Secret, or name caCertificates", "is for caCertificates, which is missing")
	}
}

var serverModes = map[networkingpb.ServerTLSSettings_TLSmode]model.ServerTLSMode{
	networkingpb.ServerTLSSettings_PASSTHROUGH:      model.TLSPassthrough,
	networkingpb.ServerTLSSettings_SIMPLE:           model.TLSSimple,
	networkingpb.ServerTLSSettings_MUTUAL:           model.TLSMutual,
	networkingpb.ServerTLSSettings_AUTO_PASSTHROUGH: model.TLSAutoPassthrough,
	networkingpb.ServerTLSSettings_ISTIO_MUTUAL:     model.TLSIstioMutual,
	networkingpb.ServerTLSSettings_OPTIONAL_MUTUAL:  model.TLSOptionalMutual,
}

func tlsVersion(v networkingpb.ServerTLSSettings_TLSProtocol) string {
	if v == networkingpb.ServerTLSSettings_TLS_AUTO {
		return ""
	}
	return v.String()
}
