// Package tlsctx makes Envoy's TLS contexts: for mTLS within the mesh, for
// gateways' servers, and for clients with certificates of their own.
package tlsctx

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// SystemCA is the operating system's trust store, used when nobody named another.
const SystemCA = "/etc/ssl/certs/ca-certificates.crt"

// CASuffix is put behind the name of a secret resource that has the CA of a
// Kubernetes Secret, Istio's.
const CASuffix = "-cacert"

// Upstream wraps a client context into a transport socket.
func Upstream(ctx *tlsv3.UpstreamTlsContext) *corev3.TransportSocket { return socket(ctx) }

// Downstream wraps a server's context.
func Downstream(ctx *tlsv3.DownstreamTlsContext) *corev3.TransportSocket { return socket(ctx) }

func socket(ctx proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pb.Any(ctx)},
	}
}

// Mesh is the common part of mTLS with workload certificates: own certificate
// and trust bundle come from beside the proxy and change without any update.
func Mesh(peers []*tlsv3.SubjectAltNameMatcher) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsParams:                      usual(),
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: wire.SecretWorkload, SdsConfig: pb.LocalSDS()}},
		ValidationContextType: Combined(&tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: peers},
			&tlsv3.SdsSecretConfig{Name: wire.SecretRoot, SdsConfig: pb.LocalSDS()}),
	}
}

// versions by the words that Istio has for them.
var versions = map[string]tlsv3.TlsParameters_TlsProtocol{
	"":         tlsv3.TlsParameters_TLS_AUTO,
	"TLS_AUTO": tlsv3.TlsParameters_TLS_AUTO,
	"TLSV1_0":  tlsv3.TlsParameters_TLSv1_0,
	"TLSV1_1":  tlsv3.TlsParameters_TLSv1_1,
	"TLSV1_2":  tlsv3.TlsParameters_TLSv1_2,
	"TLSV1_3":  tlsv3.TlsParameters_TLSv1_3,
}

// Version is the version that Istio has the word for; empty: the default.
func Version(word string) (v tlsv3.TlsParameters_TlsProtocol, ok bool) {
	v, ok = versions[word]
	return v, ok
}

// Bound sets what the mesh says where the context says nothing itself.
func Bound(ctx *tlsv3.CommonTlsContext, p *model.TLSParams) {
	if p.MinVersion == "" && len(p.Ciphers) == 0 && len(p.Curves) == 0 {
		return
	}
	if ctx.TlsParams == nil {
		ctx.TlsParams = &tlsv3.TlsParameters{}
	}
	if v := versions[p.MinVersion]; v > ctx.TlsParams.TlsMinimumProtocolVersion {
		ctx.TlsParams.TlsMinimumProtocolVersion = v
	}
	if len(ctx.TlsParams.CipherSuites) == 0 {
		ctx.TlsParams.CipherSuites = p.Ciphers
	}
	if len(ctx.TlsParams.EcdhCurves) == 0 {
		ctx.TlsParams.EcdhCurves = p.Curves
	}
}

// Combined is what peers are checked with, with the authority from a secret.
func Combined(v *tlsv3.CertificateValidationContext, ca *tlsv3.SdsSecretConfig) *tlsv3.CommonTlsContext_CombinedValidationContext {
	return &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         v,
			ValidationContextSdsSecretConfig: ca,
		},
	}
}

// URIs matches any of the given SPIFFE names.
func URIs(names []string) []*tlsv3.SubjectAltNameMatcher {
	return matchers(names, tlsv3.SubjectAltNameMatcher_URI)
}

// Names matches any of the given names, be they DNS names or URIs.
func Names(names []string) []*tlsv3.SubjectAltNameMatcher {
	out := matchers(names, tlsv3.SubjectAltNameMatcher_DNS)
	return append(out, matchers(names, tlsv3.SubjectAltNameMatcher_URI)...)
}

func matchers(names []string, t tlsv3.SubjectAltNameMatcher_SanType) []*tlsv3.SubjectAltNameMatcher {
	var out []*tlsv3.SubjectAltNameMatcher
	for _, n := range names {
		if n == "" {
			continue
		}
		var m *matcherv3.StringMatcher
		switch {
		case t == tlsv3.SubjectAltNameMatcher_URI && n[0] == '*':
			m = pb.Suffix(n[1:])
		case t == tlsv3.SubjectAltNameMatcher_URI && n[len(n)-1] == '*':
			m = pb.Prefix(n[:len(n)-1])
		default:
			m = pb.Exact(n)
		}
		out = append(out, &tlsv3.SubjectAltNameMatcher{SanType: t, Matcher: m})
	}
	return out
}

// Proxyless is mTLS of a gRPC program without a proxy: certificates and roots come
// from the provider that its bootstrap names. names are those that the peer may
// have; gRPC takes none for a server, whose peers are anybody that the roots know.
func Proxyless(names []string) *tlsv3.CommonTlsContext {
	peer := &tlsv3.CertificateValidationContext{
		CaCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: wire.GRPCCertificates, CertificateName: wire.SecretRoot},
	}
	for _, m := range URIs(names) {
		//nolint:staticcheck // the typed matchers that take its place mean nothing to gRPC
		peer.MatchSubjectAltNames = append(peer.MatchSubjectAltNames, m.Matcher)
	}
	return &tlsv3.CommonTlsContext{
		TlsCertificateProviderInstance: &tlsv3.CertificateProviderPluginInstance{InstanceName: wire.GRPCCertificates, CertificateName: wire.SecretWorkload},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{DefaultValidationContext: peer},
		},
	}
}

// Secret refers to a Kubernetes Secret ("namespace/name") that comes over ADS.
func Secret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: SecretName(name), SdsConfig: pb.ADS()}
}

// CASecret refers to the CA in a Kubernetes Secret.
func CASecret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: SecretName(name) + CASuffix, SdsConfig: pb.ADS()}
}

// SecretName is the resource name of the Secret "namespace/name".
func SecretName(name string) string {
	if strings.Contains(name, "://") {
		return name // model.GatewaySecret and the like
	}
	return wire.KubernetesSecretPrefix + name
}

// File is a file on the proxy's machine.
func File(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}

// Client is how a client talks TLS to a server outside the mesh.
type Client struct {
	SANs              []string
	CertFile, KeyFile string
	CAFile, CRLFile   string
	// CertSecret and CASecret are Secrets "namespace/name".
	CertSecret, CASecret string
	Insecure             bool
}

// usual are the versions that the mesh and its clients speak: of itself Envoy ends at 1.2
// as a client.
func usual() *tlsv3.TlsParameters {
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
	}
}

// Context makes the common part.
func (c Client) Context() *tlsv3.CommonTlsContext {
	out := &tlsv3.CommonTlsContext{TlsParams: usual()}
	switch {
	case c.CertSecret != "":
		out.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{Secret(c.CertSecret)}
	case c.CertFile != "":
		out.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: File(c.CertFile), PrivateKey: File(c.KeyFile)}}
	}
	if c.Insecure {
		return out
	}
	v := &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: Names(c.SANs)}
	if c.CRLFile != "" {
		v.Crl = File(c.CRLFile)
	}
	switch {
	case c.CASecret != "":
		out.ValidationContextType = Combined(v, CASecret(c.CASecret))
		return out
	case c.CAFile != "":
		v.TrustedCa = File(c.CAFile)
	default:
		v.TrustedCa = File(SystemCA)
	}
	out.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
	return out
}

// External refers to a secret of an SDS server, which is a cluster.
func External(name, cluster, authority string) *tlsv3.SdsSecretConfig {
	g := pb.GRPC(cluster)
	g.GetEnvoyGrpc().Authority = authority
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true, GrpcServices: []*corev3.GrpcService{g},
		}},
	}}
}
