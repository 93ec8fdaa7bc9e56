package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"github.com/weftmesh/weft/control/model"
)

// resolved is a registry with what its Secret has: itself where it names none. What is written in the object goes before the
// Secret, whose change makes the registry another.
func resolved(r *model.Registry, secrets []*model.Secret) (*model.Registry, error) {
	if r.Credential == "" {
		return r, nil
	}
	for _, s := range secrets {
		if s.Key.Kind == model.KindSecret && s.Key.Namespace+"/"+s.Key.Name == r.Credential {
			return withSecret(r, s), nil
		}
	}
	return r, fmt.Errorf("spec.credentialName: there is no Secret %s", r.Credential)
}

func withSecret(r *model.Registry, s *model.Secret) *model.Registry {
	out := *r
	// Another Secret is another registry, which is followed anew.
	out.Hash = r.Hash ^ (s.Hash*0x9e3779b97f4a7c15 | 1)
	if out.Username == "" {
		out.Username = string(s.Values["username"])
	}
	if len(out.Password) == 0 {
		out.Password = s.Values["password"]
	}
	if len(out.Token) == 0 {
		out.Token = s.Values["token"]
	}
	if r.TLS == nil && len(s.CA) == 0 && len(s.Cert) == 0 {
		return &out
	}
	t := model.RegistryTLS{}
	if r.TLS != nil {
		t = *r.TLS
	}
	t.CA, t.Cert, t.Key = s.CA, s.Cert, s.PrivateKey
	out.TLS = &t
	return &out
}

// TLS is how a registry is reached over TLS; nil: its object says nothing of it. The error is one that the user has to correct.
func TLS(r *model.Registry) (*tls.Config, error) {
	if r.TLS == nil {
		return nil, nil //nolint:nilnil // nothing is said, which is no error
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.TLS.ServerName, InsecureSkipVerify: r.TLS.SkipVerify} //nolint:gosec // the user asked for it
	if len(r.TLS.CA) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(r.TLS.CA) {
			return nil, fmt.Errorf("Secret %s: ca.crt has no certificate", r.Credential)
		}
	}
	if len(r.TLS.Cert) == 0 && len(r.TLS.Key) == 0 {
		return c, nil
	}
	pair, err := tls.X509KeyPair(r.TLS.Cert, r.TLS.Key)
	if err != nil {
		return nil, fmt.Errorf("Secret %s: tls.crt and tls.key: %w", r.Credential, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// Transport is that of a registry that is asked over HTTP. HTTP/2 is left out: one connection for all questions that block would be no gain.
func Transport(r *model.Registry) (*http.Transport, error) {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("BUG: the default transport is another")
	}
	t = t.Clone()
	conf, err := TLS(r)
	if err != nil {
		return nil, err
	}
	if conf != nil {
		t.TLSClientConfig, t.ForceAttemptHTTP2 = conf, false
	}
	return t, nil
}
