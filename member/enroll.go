package member

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/base/wholefile"
	"github.com/weftmesh/weft/proxy/sds"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Port of a control plane where none is said.
const defaultPort = "15012"

// Invited is who joins, and how.
type Invited struct {
	// URL is the control plane's: https://HOST:PORT, or HOST:PORT, or HOST.
	URL string
	// ServerName is what its certificate is for; "": the host.
	ServerName string
	Token      string
	// Dir is where the membership is kept.
	Dir string
	// Name is the workload's; "": the machine's. IP is the address that others reach it at; "": the
	// one from which it reaches the control plane.
	Name, IP string
	// User is the proxy's, who has to read the files; 0: who runs this.
	User int
	Log  *slog.Logger
}

// Enroll shows the token to the control plane, gets a certificate for it, and keeps both what it
// has learned and the certificate. It tries once.
func Enroll(ctx context.Context, in Invited) (*State, error) {
	invitation, err := wire.ReadInvitation(in.Token)
	if err != nil {
		return nil, fmt.Errorf("--token: %w", err)
	}
	if !time.Now().Before(invitation.Expires) {
		return nil, fmt.Errorf("--token: it has ended %s: make another with `weft token create`", invitation.Expires.Local().Format(time.DateTime))
	}
	s := &State{Name: in.Name, IP: in.IP, Invitation: invitation}
	if s.Address, s.ServerName, err = controlPlane(in.URL, in.ServerName); err != nil {
		return nil, err
	}
	if s.Name == "" {
		if s.Name, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("the machine's name: %w: say it with --name", err)
		}
	}
	id, local, err := certify(ctx, s, in)
	if err != nil {
		return nil, err
	}
	s.IP = cmp.Or(s.IP, local)
	return s, s.keep(id, in)
}

// controlPlane reads its address.
func controlPlane(text, serverName string) (address, name string, err error) {
	rest := text
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		if scheme != "https" {
			return "", "", fmt.Errorf("%q: want https://HOST:PORT, or HOST:PORT, of the control plane", text)
		}
		rest = after
	}
	rest = strings.TrimSuffix(rest, "/")
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		host, port = strings.Trim(rest, "[]"), defaultPort
	}
	if host == "" || strings.ContainsAny(host, "/?# ") {
		return "", "", fmt.Errorf("%q: want https://HOST:PORT, or HOST:PORT, of the control plane", text)
	}
	return net.JoinHostPort(host, port), cmp.Or(serverName, host), nil
}

// certify gets the first certificate; local is the address from which it was asked for.
func certify(ctx context.Context, s *State, in Invited) (id *sds.Identity, local string, err error) {
	conn, err := xds.Connect(xds.Target{
		Network: "tcp", Address: s.Address, Token: func() (string, error) { return strings.TrimSpace(in.Token), nil },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			local, _, _ = net.SplitHostPort(nc.LocalAddr().String())
			return recognize(ctx, nc, s)
		},
	})
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	c, err := sds.NewClient(sds.Options{CA: capb.NewIstioCertificateServiceClient(conn), URI: s.spiffe(), Logger: in.Log})
	if err != nil {
		return nil, "", err
	}
	id, err = c.Fetch(ctx)
	return id, local, explained(err, s)
}

// explained says what to do about what a control plane has answered.
func explained(err error, s *State) error {
	switch status.Code(errors.Unwrap(err)) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return fmt.Errorf("the control plane at %s cannot be asked: %w: is the address right, has it been started with --xds, and is the way to it open?", s.Address, err)
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("the control plane at %s does not accept the token: %w: make another with `weft token create`", s.Address, err)
	}
	return err
}

// spiffe is who the machine becomes.
func (s *State) spiffe() string {
	u := url.URL{Scheme: "spiffe", Host: s.Invitation.TrustDomain, Path: "/ns/" + s.Invitation.Namespace + "/sa/" + s.Invitation.ServiceAccount}
	return u.String()
}

// recognize makes TLS of a connection whose other end has the mesh's root certificate, which
// the token names, above its own.
func recognize(ctx context.Context, nc net.Conn, s *State) (net.Conn, error) {
	t := tls.Client(nc, &tls.Config{
		ServerName: s.ServerName, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it, with a root that is found by its hash
		VerifyConnection:   func(c tls.ConnectionState) error { return s.verify(c.PeerCertificates) },
	})
	if err := t.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("TLS handshake with %s: %w", s.Address, err)
	}
	return t, nil
}

func (s *State) verify(chain []*x509.Certificate) error {
	for _, c := range chain {
		sum := sha256.Sum256(c.Raw)
		if hex.EncodeToString(sum[:]) != s.Invitation.Root {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: s.ServerName})
		var wrong x509.HostnameError
		if errors.As(err, &wrong) {
			return fmt.Errorf("%w: start the control plane with --xds-name %s, or say with --server-name what it is called", err, s.ServerName)
		}
		return err
	}
	return errors.New("it is not the control plane that has made the token: its root certificate is another")
}

// keep writes the certificate, and then that the machine is a member.
func (s *State) keep(id *sds.Identity, in Invited) error {
	certs := filepath.Join(in.Dir, certsDir)
	// The folder stays with who runs this: the proxy, which is another, has no say about the rest.
	if err := errors.Join(os.MkdirAll(in.Dir, 0o711), os.MkdirAll(certs, 0o700)); err != nil { //nolint:gosec // the proxy's user goes through
		return fmt.Errorf("keeping the membership: %w", err)
	}
	for name, content := range map[string][]byte{rootFile: id.Roots, keyFile: id.Key, chainFile: id.Chain} {
		if err := wholefile.Write(filepath.Join(certs, name), content, 0o600); err != nil {
			return fmt.Errorf("keeping the membership: %w", err)
		}
	}
	if err := s.save(in.Dir); err != nil {
		return fmt.Errorf("keeping the membership: %w", err)
	}
	if in.User == 0 {
		return nil
	}
	for _, p := range []string{certs, filepath.Join(certs, rootFile), filepath.Join(certs, keyFile), filepath.Join(certs, chainFile)} {
		if err := os.Chown(p, in.User, in.User); err != nil {
			return fmt.Errorf("keeping the membership: %w", err)
		}
	}
	return nil
}
