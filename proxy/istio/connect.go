package istio

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/weftmesh/weft/proxy/xds"
)

// identity finds a certificate that somebody else brings.
func (r *reader) identity() Identity {
	socket := r.path(filepath.Join(socketPath, cmp.Or(r.env["WORKLOAD_IDENTITY_SOCKET_FILE"], "socket")))
	if i, err := os.Stat(socket); err == nil && i.Mode()&os.ModeSocket != 0 {
		return Identity{Socket: socket}
	}
	dirs := []string{spiffePath}
	if r.env["FILE_MOUNTED_CERTS"] == "true" {
		dirs = append(dirs, mountedPath)
	}
	for _, d := range dirs {
		id := Identity{
			Chain: r.path(filepath.Join(d, "cert-chain.pem")), Key: r.path(filepath.Join(d, "key.pem")), Roots: r.path(filepath.Join(d, "root-cert.pem")),
		}
		if exists(id.Chain) && exists(id.Key) || d == mountedPath {
			return id
		}
	}
	return Identity{}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// endpoints finds istiod and the certificate authority.
func (r *reader) endpoints(c proxyConfig) (istiod, ca Endpoint, err error) {
	at := func(address, roots, san string) (Endpoint, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return Endpoint{}, err
		}
		e := Endpoint{Address: address, ServerName: cmp.Or(san, host), Header: map[string]string{"clusterid": cmp.Or(r.env["ISTIO_META_CLUSTER_ID"], "Kubernetes")}}
		// istiod's port without TLS has no other use.
		e.Plain = c.ControlPlaneAuthPolicy == "NONE" || port == "15010"
		if !e.Plain {
			e.Roots = r.roots(roots)
		}
		if t := r.path(tokenPath); exists(t) {
			e.Token = t
		}
		if dir := r.env["PROV_CERT"]; dir != "" {
			e.Chain, e.Key = filepath.Join(dir, "cert-chain.pem"), filepath.Join(dir, "key.pem")
		}
		return e, nil
	}
	if istiod, err = at(c.DiscoveryAddress, r.env["XDS_ROOT_CA"], r.env["ISTIOD_SAN"]); err != nil {
		return istiod, ca, fmt.Errorf("PROXY_CONFIG: discoveryAddress: %w", err)
	}
	if ca, err = at(cmp.Or(r.env["CA_ADDR"], c.DiscoveryAddress), r.env["CA_ROOT_CA"], r.env["ISTIOD_SAN"]); err != nil {
		return istiod, ca, fmt.Errorf("CA_ADDR: %w", err)
	}
	return istiod, ca, nil
}

// roots finds what the servers' certificates are checked against.
func (r *reader) roots(configured string) string {
	switch {
	case configured == "SYSTEM":
		return ""
	case configured != "":
		return configured
	case r.env["PROV_CERT"] != "" && exists(filepath.Join(r.env["PROV_CERT"], "root-cert.pem")):
		return filepath.Join(r.env["PROV_CERT"], "root-cert.pem")
	case r.env["FILE_MOUNTED_CERTS"] == "true":
		return r.path(filepath.Join(mountedPath, "root-cert.pem"))
	}
	return r.path(rootPath)
}

// Dialer makes a connection.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Target is the endpoint as it is connected to, by plain. Files that it names are
// read when a connection or a call is made.
func (e *Endpoint) Target(plain Dialer) xds.Target {
	t := xds.Target{Network: "tcp", Address: e.Address, Metadata: e.Header, Dial: plain}
	if e.Token != "" {
		path := e.Token
		t.Token = func() (string, error) {
			b, err := os.ReadFile(path)
			return strings.TrimSpace(string(b)), err
		}
	}
	if e.Plain {
		return t
	}
	own := *e
	t.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := plain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return own.secure(ctx, nc)
	}
	return t
}

// secure makes TLS of a connection.
func (e *Endpoint) secure(ctx context.Context, nc net.Conn) (net.Conn, error) {
	c, err := e.config()
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	t := tls.Client(nc, c)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", e.Address, err)
	}
	return t, nil
}

func (e *Endpoint) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: e.ServerName, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}
	if e.Roots != "" {
		pem, err := os.ReadFile(e.Roots)
		if err != nil {
			return nil, fmt.Errorf("root certificate of %s: %w", e.Address, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("root certificate of %s: %s has no certificate", e.Address, e.Roots)
		}
	}
	if e.Chain != "" && exists(e.Chain) {
		cert, err := tls.LoadX509KeyPair(e.Chain, e.Key)
		if err != nil {
			return nil, fmt.Errorf("certificate for %s: %w", e.Address, err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}
