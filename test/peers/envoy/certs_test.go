package envoy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// certs are the certificates of a run, which both proxies read from files.
var certs struct {
	dir   string
	roots *x509.CertPool
	pairs map[string]tls.Certificate
}

// certFile is the path for $ca, $cert-NAME, $key-NAME, and $sds-NAME, which holds the
// certificate NAME (or ca) as a secret of that name, and $pressure, which says that all is in use; "": it is none of them.
func certFile(name string) string {
	if name == "ca" {
		return filepath.Join(certs.dir, "ca.pem")
	}
	if len(name) > 5 && name[:5] == "cert-" || len(name) > 4 && name[:4] == "key-" {
		return filepath.Join(certs.dir, name+".pem")
	}
	if name == "pressure" {
		return filepath.Join(certs.dir, name)
	}
	if len(name) > 4 && name[:4] == "sds-" {
		return filepath.Join(certs.dir, name+".yaml")
	}
	return ""
}

// writeSDS writes a file for path_config_source.
func writeSDS(name, secret string) error {
	text := fmt.Sprintf("resources:\n- \"@type\": %stransport_sockets.tls.v3.Secret\n  name: %s\n  %s\n", typeURL, name, secret)
	return os.WriteFile(certFile("sds-"+name), []byte(text), 0o600)
}

// makeCerts issues a, b (servers), client (a workload) and other (of another root).
func makeCerts(dir string) error {
	certs.dir, certs.roots, certs.pairs = dir, x509.NewCertPool(), map[string]tls.Certificate{}
	ca, key, err := issue(nil, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	if err != nil {
		return err
	}
	certs.roots.AddCert(ca)
	if err := os.WriteFile(certFile("pressure"), []byte("1"), 0o600); err != nil {
		return err
	}
	if err := writeSDS("ca", fmt.Sprintf("validation_context: {trusted_ca: {filename: %s}}", certFile("ca"))); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "ca.pem"), "CERTIFICATE", ca.Raw); err != nil {
		return err
	}
	stray, strayKey, err := issue(nil, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "stray"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign})
	if err != nil {
		return err
	}
	spiffe := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/client"}
	for name, m := range map[string]*x509.Certificate{
		"a":      {Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"a.example"}},
		"b":      {Subject: pkix.Name{CommonName: "b.example"}, DNSNames: []string{"b.example", "*.b.example"}},
		"client": {Subject: pkix.Name{CommonName: "client", Organization: []string{"Weft, Inc"}}, DNSNames: []string{"client.example"}, URIs: []*url.URL{spiffe}},
		"bare":   {Subject: pkix.Name{CommonName: "bare"}},
		"odd":    {Subject: pkix.Name{CommonName: "odd"}, URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/a;b,c"}, {Scheme: "spiffe", Host: "cluster.local", Path: "/plain"}}},
		"other":  {Subject: pkix.Name{CommonName: "other"}, URIs: []*url.URL{spiffe}},
	} {
		parent, parentKey := ca, key
		if name == "other" {
			parent, parentKey = stray, strayKey
		}
		m.KeyUsage, m.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		cert, k, err := issue(parent, parentKey, m)
		if err != nil {
			return err
		}
		certs.pairs[name] = tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: k}
		if err := writePEM(certFile("cert-"+name), "CERTIFICATE", cert.Raw); err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			return err
		}
		if err := writePEM(certFile("key-"+name), "PRIVATE KEY", der); err != nil {
			return err
		}
		pair := fmt.Sprintf("tls_certificate: {certificate_chain: {filename: %s}, private_key: {filename: %s}, watched_directory: {path: %s}}",
			certFile("cert-"+name), certFile("key-"+name), dir)
		if err := writeSDS(name, pair); err != nil {
			return err
		}
	}
	return nil
}

func issue(parent *x509.Certificate, parentKey *ecdsa.PrivateKey, m *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	m.SerialNumber, m.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	m.NotBefore, m.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent, parentKey = m, key
	}
	der, err := x509.CreateCertificate(rand.Reader, m, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
