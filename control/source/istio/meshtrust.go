package istio

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"

	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// authorities reads those that are trusted besides the mesh's own.
func authorities(d *document.Document, mc *meshpb.MeshConfig) (out []model.Authority) {
	local := append([]string{mc.GetTrustDomain()}, mc.GetTrustDomainAliases()...)
	if local[0] == "" {
		local[0] = model.DefaultMesh().TrustDomain
	}
	for i, c := range mc.GetCaCertificates() {
		a := model.Authority{Field: document.At("caCertificates", i), Domains: c.GetTrustDomains()}
		if len(c.GetCertSigners()) > 0 {
			d.Warn(document.CodeIgnored, a.Field+".certSigners", "remove it", "has no effect: the mesh has one signer, and the authority is trusted beside it")
		}
		for j, name := range a.Domains {
			at := document.At(a.Field+".trustDomains", j)
			switch {
			case !trustDomain(name):
				d.Invalid(at, "write the domain alone, as in partner.example", "%q is no trust domain", name)
			case !slices.Contains(local, name):
				d.Info(document.CodeOneWay, at, "add it to trustDomainAliases if its clients are meant to come in",
					"%s does not count as the mesh's: its servers can be called, and its clients are refused", name)
			}
		}
		if c.GetSpiffeBundleUrl() != "" {
			a.URL = c.GetSpiffeBundleUrl()
			if u, err := url.Parse(a.URL); err != nil || u.Scheme != "https" || u.Host == "" {
				d.Invalid(a.Field+".spiffeBundleUrl", "write https://host/path", "%q is no address of a SPIFFE bundle endpoint", a.URL)
				continue
			}
		} else {
			a.PEM = certificates(d, a.Field+".pem", c.GetPem())
		}
		out = append(out, a)
	}
	return out
}

// trustDomain tells whether a name is one by SPIFFE's rules.
func trustDomain(name string) bool {
	return name != "" && len(name) <= 255 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

// certificates reads those of an authority.
func certificates(d *document.Document, at, text string) string {
	var out strings.Builder
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			d.Invalid(at, "", "is no certificate: %v", err)
		case !cert.IsCA:
			d.Invalid(at, "write the certificate of an authority", "%q is not one of an authority", cert.Subject)
		default:
			out.Write(pem.EncodeToMemory(block))
		}
	}
	if out.Len() == 0 && !d.Bad() {
		d.Error(document.CodeMissing, at, "write certificates in PEM", "has no certificate")
	}
	return out.String()
}
