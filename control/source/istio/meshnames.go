package istio

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// namespaces reads what the mesh makes of namespaces by their labels.
func namespaces(d *document.Document, m *model.Mesh, mc *meshpb.MeshConfig) {
	for i, s := range mc.GetDiscoverySelectors() {
		m.Discovery = append(m.Discovery, labelSelector(d, document.At("discoverySelectors", i), s))
	}
	for i, s := range mc.GetServiceSettings() {
		// A mesh of one cluster is local to it as it is.
		for j, h := range s.GetHosts() {
			d.Host(document.At(document.At("serviceSettings", i)+".hosts", j), h, true)
		}
	}
	v := mc.GetServiceEntryVisibility()
	if v == nil {
		return
	}
	if !v.GetApplyToSidecars() {
		d.Warn(document.CodeIgnored, "serviceEntryVisibility", "set applyToSidecars: true", "has no effect on sidecars and gateways, as in Istio")
		return
	}
	m.Entries = &model.EntryPolicy{Default: entryVisibility(v.GetDefaultVisibility())}
	for i, p := range v.GetPolicies() {
		r := model.EntryRule{Visibility: entryVisibility(p.GetVisibility())}
		at := document.At("serviceEntryVisibility.policies", i)
		for j, match := range p.GetMatchingRules() {
			mat := document.At(at+".matchingRules", j)
			if match.GetNamespaceSelector() == nil {
				d.Error(document.CodeMissing, mat+".namespaceSelector", "name labels of namespaces", "is missing")
				continue
			}
			r.Selectors = append(r.Selectors, labelSelector(d, mat+".namespaceSelector", match.GetNamespaceSelector()))
		}
		m.Entries.Rules = append(m.Entries.Rules, r)
	}
}

func entryVisibility(v meshpb.ServiceEntryVisibility_Visibility) model.EntryVisibility {
	switch v {
	case meshpb.ServiceEntryVisibility_NAMESPACE:
		return model.EntryNamespace
	case meshpb.ServiceEntryVisibility_NONE:
		return model.EntryNobody
	default:
		return model.EntryPublic
	}
}

// operators of expressions of selectors.
var operators = []string{"In", "NotIn", "Exists", "DoesNotExist"}

func labelSelector(d *document.Document, at string, s *meshpb.LabelSelector) *model.LabelSelector {
	out := &model.LabelSelector{Labels: s.GetMatchLabels()}
	d.CheckLabels(at+".matchLabels", out.Labels)
	for i, e := range s.GetMatchExpressions() {
		eat := document.At(at+".matchExpressions", i)
		switch op := e.GetOperator(); {
		case !slices.Contains(operators, op):
			d.Invalid(eat+".operator", document.Suggest(op, operators), "must be one of %s, got %q", strings.Join(operators, ", "), op)
		case strings.HasSuffix(op, "In") && len(e.GetValues()) == 0:
			d.Error(document.CodeMissing, eat+".values", "name values, or write operator: Exists", "is missing for operator %s", op)
		case !strings.HasSuffix(op, "In") && len(e.GetValues()) > 0:
			d.Invalid(eat+".values", "remove them", "have no use with operator %s", op)
		}
		out.Expressions = append(out.Expressions, model.LabelExpression{Key: e.GetKey(), Op: e.GetOperator(), Values: e.GetValues()})
	}
	return out
}

// authorities reads certificates that are trusted besides the mesh's own.
func authorities(d *document.Document, list []*meshpb.MeshConfig_CertificateData) (out []string) {
	for i, c := range list {
		at := document.At("caCertificates", i)
		if len(c.GetCertSigners()) > 0 {
			d.Warn(document.CodeIgnored, at+".certSigners", "remove it", "has no effect: the mesh has one signer")
		}
		if len(c.GetTrustDomains()) > 0 {
			d.Warn(document.CodeIgnored, at+".trustDomains", "remove it", "has no effect: the authority is trusted for every trust domain of the mesh")
		}
		if c.GetSpiffeBundleUrl() != "" {
			d.Warn(document.CodeIgnored, at+".spiffeBundleUrl", "write the certificates as pem", "is not fetched by Weft")
			continue
		}
		rest, count := []byte(c.GetPem()), 0
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			switch {
			case err != nil:
				d.Invalid(at+".pem", "", "is no certificate: %v", err)
			case !cert.IsCA:
				d.Invalid(at+".pem", "write the certificate of an authority", "%q is not one of an authority", cert.Subject)
			default:
				count++
				out = append(out, string(pem.EncodeToMemory(block)))
			}
		}
		if count == 0 && !d.Bad() {
			d.Error(document.CodeMissing, at+".pem", "write certificates in PEM", "has no certificate")
		}
	}
	return out
}
