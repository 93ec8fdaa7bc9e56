package cluster

import (
	"cmp"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// applyTLS decides how the cluster talks to its endpoints: as the DestinationRule
// says; else mTLS with every endpoint that takes it.
func (b *Builder) applyTLS(c *clusterv3.Cluster, t *target) {
	if t.policy.TLS == nil {
		b.autoMTLS(c, t)
		return
	}
	tls := t.policy.TLS
	switch tls.Mode {
	case model.ClientTLSIstioMutual:
		c.TransportSocket = tlsctx.Upstream(b.meshTLS(t, tls))
	case model.ClientTLSSimple, model.ClientTLSMutual:
		c.TransportSocket = tlsctx.Upstream(b.clientTLS(t, tls))
	}
}

func (b *Builder) autoMTLS(c *clusterv3.Cluster, t *target) {
	if !b.v.Mesh.AutoMTLS || t.svc.External {
		return
	}
	switch c.GetType() {
	case clusterv3.Cluster_ORIGINAL_DST:
		// The address is not known beforehand, so there is nothing to choose by.
		if b.v.Index.AllMTLS(t.svc, t.port) {
			c.TransportSocket = tlsctx.Upstream(b.meshTLS(t, &model.ClientTLS{}))
		}
	case clusterv3.Cluster_EDS:
		c.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
			{
				Name:            "tlsMode-istio",
				Match:           &structpb.Struct{Fields: map[string]*structpb.Value{"tlsMode": structpb.NewStringValue("istio")}},
				TransportSocket: tlsctx.Upstream(b.meshTLS(t, &model.ClientTLS{})),
			},
			{
				Name:            "tlsMode-disabled",
				Match:           &structpb.Struct{},
				TransportSocket: plaintext(),
			},
		}
	}
}

// announce puts a PROXY header before all else, by version; 0: none.
func announce(c *clusterv3.Cluster, version int) {
	if version == 0 {
		return
	}
	config := &corev3.ProxyProtocolConfig{Version: corev3.ProxyProtocolConfig_V1}
	if version == 2 {
		config.Version = corev3.ProxyProtocolConfig_V2
	}
	wrap := func(s *corev3.TransportSocket) *corev3.TransportSocket {
		return &corev3.TransportSocket{
			Name: "envoy.transport_sockets.upstream_proxy_protocol",
			ConfigType: &corev3.TransportSocket_TypedConfig{
				TypedConfig: pb.Any(&proxyprotocolv3.ProxyProtocolUpstreamTransport{Config: config, TransportSocket: s}),
			},
		}
	}
	for _, m := range c.TransportSocketMatches {
		m.TransportSocket = wrap(m.TransportSocket)
	}
	switch {
	case c.TransportSocket != nil:
		c.TransportSocket = wrap(c.TransportSocket)
	case len(c.TransportSocketMatches) == 0:
		c.TransportSocket = wrap(plaintext())
	}
}

func plaintext() *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.raw_buffer",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pb.Any(&rawv3.RawBuffer{})},
	}
}

// meshTLS is mTLS with the workload's own certificate.
func (b *Builder) meshTLS(t *target, tls *model.ClientTLS) *tlsv3.UpstreamTlsContext {
	sans := tls.SubjectAltNames
	if len(sans) == 0 {
		sans = b.identities(t.svc)
	}
	sni := tls.SNI
	if sni == "" && t.svc.Resolution != model.ByRequest {
		sni = wire.SNI(t.port.Port, t.subsetName(), t.svc.Host)
	}
	ctx := tlsctx.Mesh(tlsctx.URIs(sans))
	ctx.AlpnProtocols = meshALPN(t)
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: ctx, Sni: sni}
}

// MeshBytes is what a client's proxy offers that sends bytes, MeshRequests what one
// does that sends requests of a version that it does not promise.
var (
	MeshBytes    = []string{"istio"}
	MeshRequests = []string{"istio-http/1.1", "istio"}
)

// meshALPN tells the server's proxy what comes: it chooses its filter chain by
// the first word. "istio" alone is bytes; a port whose protocol is not declared
// is bytes too, unless the HTTP filters of the client say otherwise per request.
func meshALPN(t *target) []string {
	switch {
	case t.port.Protocol == model.Unknown || !t.port.Protocol.IsHTTP():
		return MeshBytes
	case protocolOf(t) == http2:
		return []string{"istio-h2", "istio", "h2"}
	case protocolOf(t) == asClient:
		// No protocol is promised: the server looks at the bytes.
		return MeshRequests
	}
	return []string{"istio-http/1.1", "istio", "http/1.1"}
}

// identities are the names that a service's servers may have: those of its
// workloads' accounts, in every trust domain of the mesh.
func (b *Builder) identities(s *model.Service) []string {
	if len(s.SubjectAltNames) > 0 {
		return s.SubjectAltNames
	}
	type key struct{ s *model.Service }
	return b.v.Index.Memo(key{s}, func() any {
		var out []string
		for _, in := range b.v.Index.Instances(s) {
			namespace, account := s.Namespace, in.Endpoint.ServiceAccount
			if in.Workload != nil {
				namespace, account = in.Workload.Namespace, in.Workload.ServiceAccount
			}
			if account == "" {
				continue
			}
			for _, d := range append([]string{b.v.Mesh.TrustDomain}, b.v.Mesh.TrustAliases...) {
				out = append(out, "spiffe://"+d+"/ns/"+namespace+"/sa/"+account)
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}).([]string)
}

// clientTLS is TLS that the user has set up, SIMPLE or MUTUAL, with a credential
// that is there.
func (b *Builder) clientTLS(t *target, tls *model.ClientTLS) *tlsv3.UpstreamTlsContext {
	sans := tls.SubjectAltNames
	if len(sans) == 0 {
		sans = t.svc.SubjectAltNames
	}
	sni := tls.SNI
	if sni == "" && !strings.HasPrefix(t.svc.Host, "*") && t.svc.FromEntry {
		sni = t.svc.Host
		// A certificate that anybody may have is no proof: unless the user names
		// another, the server has to be who the entry says.
		if len(sans) == 0 {
			sans = []string{sni}
		}
	}
	o := tlsctx.Client{
		SANs: sans, Insecure: tls.Insecure,
		CAFile: tls.CAFile, CRLFile: tls.CRLFile,
	}
	if tls.Mode == model.ClientTLSMutual {
		o.CertFile, o.KeyFile = tls.CertFile, tls.KeyFile
	}
	if tls.Credential != "" {
		name, _ := b.v.Credential(tls.Credential)
		b.secrets[name] = true
		if tls.Mode == model.ClientTLSMutual {
			o.CertSecret = name
		}
		if ca, _ := b.v.ClientCA(name); len(ca) > 0 {
			o.CASecret = name
		}
	}
	ctx := o.Context()
	tlsctx.Bound(ctx, &b.v.Mesh.OtherTLS)
	if protocolOf(t) == http2 {
		ctx.AlpnProtocols = []string{"h2"}
	} else if t.port.Protocol.IsHTTP() {
		ctx.AlpnProtocols = []string{"http/1.1"}
	}
	return &tlsv3.UpstreamTlsContext{CommonTlsContext: ctx, Sni: sni}
}

// credential tells whether the proxy has what the TLS that the user has set up
// needs: Secrets of its own namespace only.
func (b *Builder) credential(t *target) bool {
	tls := t.policy.TLS
	if tls == nil || tls.Credential == "" || tls.Mode != model.ClientTLSSimple && tls.Mode != model.ClientTLSMutual {
		return true
	}
	name, secret := b.v.Credential(tls.Credential)
	f := model.Finding{Code: CodeCredential, Severity: model.Error, Field: cmp.Or(t.tlsField, "spec.trafficPolicy.tls") + ".credentialName"}
	switch {
	case secret == nil:
		f.Message = "there is no Secret " + name + ": proxies of that namespace cannot connect to " + t.svc.Host
		f.Remedy = "create the Secret there, or restrict the rule by workloadSelector"
	case tls.Mode == model.ClientTLSMutual && (len(secret.Cert) == 0 || len(secret.PrivateKey) == 0):
		f.Message = "Secret " + name + " has no certificate and key, which mode MUTUAL needs: proxies of that namespace cannot connect to " + t.svc.Host
		f.Remedy = "put tls.crt and tls.key into it, or use mode SIMPLE"
	default:
		return true
	}
	if len(t.keys) > 0 {
		f.Object, f.Origin = t.keys[0], originOf(b.v, t.keys[0])
	}
	b.report(f)
	return false
}
