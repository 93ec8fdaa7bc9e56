package istio

import (
	"cmp"
	"slices"
	"strings"

	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// traffic reads what holds for clusters and TLS of the whole mesh.
func traffic(d *document.Document, m *model.Mesh, mc *meshpb.MeshConfig) {
	m.InboundLocal = mc.GetInboundTrafficPolicy().GetMode() == meshpb.MeshConfig_InboundTrafficPolicy_LOCALHOST
	m.H2Upgrade = mc.GetH2UpgradePolicy() == meshpb.MeshConfig_UPGRADE
	p := mc.GetDefaultTrafficPolicy()
	m.DefaultPool = connectionPool(d, "defaultTrafficPolicy.connectionPool", p.GetConnectionPool())
	m.DefaultOutlier = outlier(d, "defaultTrafficPolicy.outlierDetection", p.GetOutlierDetection())
	m.MeshTLS = tlsParams(d, "meshMTLS", mc.GetMeshMTLS())
	if len(m.MeshTLS.Curves) > 0 {
		d.Warn(document.CodeIgnored, "meshMTLS.ecdhCurves", "remove it", "has no effect on mTLS of the mesh, as in Istio")
		m.MeshTLS.Curves = nil
	}
	m.OtherTLS = tlsParams(d, "tlsDefaults", mc.GetTlsDefaults())
	m.InboundStat = statPattern(d, "inboundClusterStatName", mc.GetInboundClusterStatName())
	m.OutboundStat = statPattern(d, "outboundClusterStatName", mc.GetOutboundClusterStatName())
}

// cipherSuites of TLS 1.2 that both engines have, by Envoy's names.
var cipherSuites = []string{
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "AES256-GCM-SHA384", "AES128-GCM-SHA256",
	"ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-SHA", "AES256-SHA",
}

// curves that both engines have, by Envoy's names.
var curves = []string{"X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"}

func tlsParams(d *document.Document, at string, p *meshpb.MeshConfig_TLSConfig) (out model.TLSParams) {
	if v := p.GetMinProtocolVersion(); v != meshpb.MeshConfig_TLSConfig_TLS_AUTO {
		out.MinVersion = v.String()
	}
	known := func(field string, names, all []string) (out []string) {
		for i, n := range names {
			if !slices.Contains(all, n) {
				d.Invalid(document.At(at+"."+field, i), cmp.Or(document.Suggest(n, all), "write one of "+strings.Join(all, ", ")), "%q is not one that the proxies have", n)
				continue
			}
			out = append(out, n)
		}
		return out
	}
	out.Ciphers = known("cipherSuites", p.GetCipherSuites(), cipherSuites)
	out.Curves = known("ecdhCurves", p.GetEcdhCurves(), curves)
	return out
}

// statPattern judges a pattern of names: what is between percent signs is known.
func statPattern(d *document.Document, at, pattern string) string {
	parts := strings.Split(pattern, "%")
	if len(parts)%2 == 0 {
		d.Invalid(at, "write e.g. %SERVICE_FQDN%_%SERVICE_PORT%", "%q has an odd number of percent signs", pattern)
		return ""
	}
	for i := 1; i < len(parts); i += 2 {
		if !slices.Contains(model.StatVariables, parts[i]) {
			d.Invalid(at, document.Suggest(parts[i], model.StatVariables), "%%%s%% is not a variable", parts[i])
			return ""
		}
	}
	return pattern
}
