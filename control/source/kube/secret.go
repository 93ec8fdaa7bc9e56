package kube

import (
	"crypto/tls"
	"encoding/pem"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// Keys of a Secret that hold the parts of a certificate, Kubernetes' first.
var (
	certKeys = []string{"tls.crt", "cert"}
	keyKeys  = []string{"tls.key", "key"}
	caKeys   = []string{"ca.crt", "cacert"}
	crlKeys  = []string{"ca.crl", "crl"}
)

// convertSecret reads certificates; other secrets pass with nothing in them, so
// that "is no certificate" can be told from "does not exist".
func convertSecret(d *document.Document) []model.Object {
	sec, err := document.Into[corev1.Secret](map[string]any{"data": d.Body["data"], "stringData": d.Body["stringData"], "type": d.Body["type"]})
	if err != nil {
		d.Invalid("data", "", "cannot be read: %v", err)
		return nil
	}
	take := func(keys []string) (model.PrivateBytes, string) {
		for _, k := range keys {
			if v, ok := sec.StringData[k]; ok {
				return model.PrivateBytes(v), document.Join("stringData", k)
			}
			if v, ok := sec.Data[k]; ok {
				return slices.Clone(v), document.Join("data", k)
			}
		}
		return nil, document.Join("data", keys[0])
	}
	out := &model.Secret{Meta: d.Meta}
	var certField, keyField, caField string
	out.Cert, certField = take(certKeys)
	out.PrivateKey, keyField = take(keyKeys)
	out.CA, caField = take(caKeys)
	out.CRL, _ = take(crlKeys)
	out.Docker, _ = take([]string{corev1.DockerConfigJsonKey})
	out.Values = others(&sec)
	if sec.Type == corev1.SecretTypeTLS {
		if out.Cert == nil {
			d.Error(document.CodeMissing, certField, "put the certificate chain there, PEM", "is missing in a secret of type %s", sec.Type)
		}
		if out.PrivateKey == nil {
			d.Error(document.CodeMissing, keyField, "put the private key there, PEM", "is missing in a secret of type %s", sec.Type)
		}
	}
	// Only pairs are judged: "key" and "cert" alone may be anything.
	if out.Cert != nil && out.PrivateKey != nil {
		if _, err := tls.X509KeyPair(out.Cert, out.PrivateKey); err != nil {
			d.Invalid(certField, "check that both are PEM and belong together", "certificate and key cannot be used: %v", err)
		}
	}
	if out.CA != nil && caField == document.Join("data", "ca.crt") {
		if block, _ := pem.Decode(out.CA); block == nil {
			d.Invalid(caField, "put PEM certificates there", "holds no PEM certificate")
		}
	}
	return []model.Object{out}
}

// biggestValue bounds what is kept of a Secret beside certificates: passwords are short.
const biggestValue = 4 << 10

// others are the values of a Secret that are no parts of a certificate.
func others(sec *corev1.Secret) map[string]model.PrivateBytes {
	if sec.Type != "" && sec.Type != corev1.SecretTypeOpaque && sec.Type != corev1.SecretTypeBasicAuth {
		return nil
	}
	known := slices.Concat(certKeys, keyKeys, caKeys, crlKeys)
	out := map[string]model.PrivateBytes{}
	keep := func(k string, v []byte) {
		if len(v) <= biggestValue && !slices.Contains(known, k) {
			out[k] = slices.Clone(v)
		}
	}
	for k, v := range sec.Data {
		keep(k, v)
	}
	for k, v := range sec.StringData {
		keep(k, []byte(v))
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
