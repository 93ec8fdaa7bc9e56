package proxy

import (
	"context"
	"errors"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/grpc"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/sds"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// fetchIdentity starts what brings the proxy's certificate: some configuration
// has named it.
func (r *runtime) fetchIdentity() {
	log := r.log.With("component", "identity")
	if s := r.boot.SDSSocket; r.opt.Istio == nil && r.foreign() && s != "" { // an agent is beside this proxy
		s := sds.Subscriber{Socket: s, Node: r.boot.Node, Publish: r.setSecret, Log: log}
		r.run(s.Run)
		return
	}
	if a := r.opt.Istio; a != nil {
		switch id := a.Identity; {
		case id.Socket != "":
			s := sds.Subscriber{Socket: id.Socket, Node: r.boot.Node, Publish: r.setSecret, Log: log}
			r.run(s.Run)
			return
		case id.Chain != "":
			r.files.WantAs(wire.SecretRoot, sds.FileSecret{Roots: id.Roots})
			r.files.WantAs(wire.SecretWorkload, sds.FileSecret{Chain: id.Chain, Key: id.Key})
			return
		}
	}
	conn, err := r.authority()
	if err != nil {
		log.Error("cannot get a certificate", "error", err)
		return
	}
	c, err := sds.NewClient(sds.Options{
		CA: capb.NewIstioCertificateServiceClient(conn), URI: r.opt.SPIFFE, Validity: r.opt.CertTTL, Logger: log,
		Publish: func(id *sds.Identity) { r.setIdentity(id) },
	})
	if err != nil {
		log.Error("cannot get a certificate", "error", err)
		return
	}
	r.run(func(ctx context.Context) error { return c.Run(ctx) })
}

// rootsPushed tells whether the control plane, which certifies the proxy, may be asked whom
// to trust: Weft's answers, istiod does not know the name, and says nothing.
func (r *runtime) rootsPushed() bool {
	if a := r.opt.Istio; a != nil {
		return a.Identity.Socket == "" && a.Identity.Chain == "" && a.CA.Address == a.XDS.Address
	}
	return r.boot.ADS != nil && !r.foreign()
}

// authority is the connection to the certificate authority: the control plane's,
// unless another is named.
func (r *runtime) authority() (*grpc.ClientConn, error) {
	a := r.opt.Istio
	if a == nil || a.CA.Address == a.XDS.Address {
		if r.conn == nil {
			return nil, errors.New("configuration names the proxy's own certificate, but there is no control plane to get it from")
		}
		return r.conn, nil
	}
	conn, err := xds.Connect(a.CA.Target(config.DialMarked(r.boot.Mark)))
	if err != nil {
		return nil, err
	}
	r.run(func(ctx context.Context) error {
		<-ctx.Done()
		return errors.Join(ctx.Err(), conn.Close())
	})
	return conn, nil
}

// setSecret takes the identity from another's SDS server.
func (r *runtime) setSecret(name string, c *sds.FileContent) error {
	return r.setFile(name, c)
}

// local begins or ends with a secret in files, or of an SDS server. It is called with the store's lock
// held, and does not wait.
func (r *runtime) local(name string, wanted bool) {
	if s, ok := config.ParseRemoteSecret(name); ok {
		r.remotes.follow(r, name, s, wanted)
		return
	}
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
		r.store.LocalChanged(shownRoots(name, c.Roots))
		return nil
	}
	cert, err := transport.ParseCertificate(c.Chain, c.Key)
	if err != nil {
		return err
	}
	r.secrets.SetCertificate(name, cert)
	r.store.LocalChanged(shownChain(name, c.Chain))
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
	if a := r.opt.Istio; a != nil && a.Output != "" {
		if err := a.Write(id.Chain, id.Key, id.Roots); err != nil {
			r.log.Warn("the certificate cannot be written to OUTPUT_CERTS", "error", err)
		}
	}
	// Roots first: who sees the new certificate must be able to trust its peers'.
	shown := []*tlsv3.Secret{shownChain(wire.SecretWorkload, id.Chain)}
	if r.store.SetRoots(trust) {
		shown = append(shown, shownRoots(wire.SecretRoot, id.Roots))
	}
	r.secrets.SetCertificate(wire.SecretWorkload, cert)
	r.store.LocalChanged(shown...)
}

// shownRoots and shownChain are secrets for /config_dump: without a key.
func shownRoots(name string, pem []byte) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(pem)},
	}}
}

func shownChain(name string, pem []byte) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{
		TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(pem)},
	}}
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
