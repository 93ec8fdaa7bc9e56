package proxy

import (
	"context"

	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/proxy/sds"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/wire"
)

// fetchIdentity starts the client of the certificate authority: some
// configuration has named the proxy's own certificate.
func (r *runtime) fetchIdentity() {
	if r.conn == nil {
		r.log.Error("configuration names the proxy's own certificate, but there is no control plane to get it from")
		return
	}
	log := r.log.With("component", "identity")
	c, err := sds.NewClient(sds.Options{
		CA: capb.NewIstioCertificateServiceClient(r.conn), URI: r.opt.SPIFFE, Validity: r.opt.CertTTL, Logger: log,
		Publish: func(id *sds.Identity) { r.setIdentity(id) },
	})
	if err != nil {
		log.Error("cannot get a certificate", "error", err)
		return
	}
	r.run(func(ctx context.Context) error { return c.Run(ctx) })
}

// local begins or ends with a secret in files. It is called with the store's lock
// held, and does not wait.
func (r *runtime) local(name string, wanted bool) {
	if wanted {
		r.files.Want(name)
	} else {
		r.files.Drop(name)
	}
}

// localSecret tells whether a name is that of a secret in files.
func localSecret(name string) error {
	_, err := sds.ParseFileSecret(name)
	return err
}

// setFile takes what is in the files of a secret.
func (r *runtime) setFile(name string, c *sds.FileContent) error {
	if c.Roots != nil {
		trust, err := transport.ParseTrust(c.Roots)
		if err != nil {
			return err
		}
		r.secrets.SetTrust(name, trust)
	} else {
		cert, err := transport.ParseCertificate(c.Chain, c.Key)
		if err != nil {
			return err
		}
		r.secrets.SetCertificate(name, cert)
	}
	r.store.IdentityChanged()
	return nil
}

func (r *runtime) setIdentity(id *sds.Identity) {
	cert, err := transport.ParseCertificate(id.Chain, id.Key)
	if err != nil {
		r.log.Error("certificate: not usable", "error", err)
		return
	}
	trust, err := transport.ParseTrust(id.Roots)
	if err != nil {
		r.log.Error("roots: not usable", "error", err)
		return
	}
	// Roots first: who sees the new certificate must be able to trust its peers'.
	r.secrets.SetTrust(wire.SecretRoot, trust)
	r.secrets.SetCertificate(wire.SecretWorkload, cert)
	r.store.IdentityChanged()
}
