package config

import (
	"errors"
	"fmt"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/weftmesh/weft/base/stamp"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

func (s *Store) applySecrets(u xds.Update) (rejected []xds.Rejection) {
	var set []*fileSecret
	for _, r := range u.Set {
		m := &tlsv3.Secret{}
		err := open(r.Body, m)
		f := &fileSecret{name: r.Name, fixed: m, read: true, seen: stamp.Take(filesOf(m)...)}
		if err == nil {
			err = s.setSecret(r.Name, m)
		}
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
			continue
		}
		set = append(set, f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range set {
		s.followParts(f)
	}
	for _, r := range u.Set {
		if s.opt.Secrets.Get(r.Name).Ready() {
			s.arrived(waitKey{wire.TypeSecret, r.Name})
		}
	}
	for _, n := range u.Removed {
		if isIdentity(n) {
			continue // what was said last of whom to trust stays
		}
		delete(s.files, n)
		if h := s.secrets[n]; h != nil {
			s.opt.Secrets.Remove(n)
		}
	}
	s.progressLocked()
	return rejected
}

// setSecret takes a secret that came over ADS.
func (s *Store) setSecret(name string, m *tlsv3.Secret) error {
	if name != wire.SecretRoot {
		return setSecret(s.opt.Secrets, name, m)
	}
	s.rootsMu.Lock()
	defer s.rootsMu.Unlock()
	err := setSecret(s.opt.Secrets, name, m)
	s.rootsPushed = s.rootsPushed || err == nil
	return err
}

// SetRoots takes the roots that came with the proxy's certificate, unless the control
// plane has said whom to trust, which it does whenever that changes. It tells which.
func (s *Store) SetRoots(t *transport.Trust) bool {
	s.rootsMu.Lock()
	defer s.rootsMu.Unlock()
	if !s.rootsPushed {
		s.opt.Secrets.SetTrust(wire.SecretRoot, t)
	}
	return !s.rootsPushed
}

// setSecret decodes a secret and rotates it in.
func setSecret(store *transport.SecretStore, name string, m *tlsv3.Secret) error {
	switch t := m.Type.(type) {
	case *tlsv3.Secret_TlsCertificate:
		c, err := certificate(t.TlsCertificate)
		if err != nil {
			return at(err, "tls_certificate")
		}
		store.SetCertificate(name, c)
		return nil
	case *tlsv3.Secret_ValidationContext:
		v := transport.Validation{}
		if err := validationContext(t.ValidationContext, &v); err != nil {
			return at(err, "validation_context")
		}
		if v.Trust == nil {
			return at(errors.New("has no trusted_ca"), "validation_context")
		}
		if len(v.SANs)+len(v.SPKI)+len(v.Hashes) > 0 || v.AcceptUntrusted {
			return at(errors.New("only trusted_ca and crl are supported in a secret"), "validation_context")
		}
		store.SetTrust(name, v.Trust.WithRevocations(v.Revoked, v.RevokedLeafOnly))
		return nil
	case *tlsv3.Secret_SessionTicketKeys:
		k, err := readTicketKeys(t.SessionTicketKeys)
		if err != nil {
			return at(err, "session_ticket_keys")
		}
		store.SetTicketKeys(name, k)
		return nil
	default:
		return fmt.Errorf("%T is not supported", t)
	}
}

func (s *Store) refSecrets(needs []need) {
	for _, n := range needs {
		if !s.opt.Secrets.Get(n.name).Ready() {
			s.await(waitKey{wire.TypeSecret, n.name}, n.timeout, nil)
		}
		if n.local {
			s.refLocal(n.name)
			continue
		}
		if n.path != "" {
			s.refFile(n)
			continue
		}
		if s.opt.Decoder.staticSecrets[n.name] {
			continue
		}
		h := s.secrets[n.name]
		if h == nil {
			h = &heldSecret{}
			s.secrets[n.name] = h
		}
		if h.refs++; h.refs == 1 {
			s.subscribe(wire.TypeSecret, n.name)
		}
	}
}

func isIdentity(name string) bool { return name == wire.SecretWorkload || name == wire.SecretRoot }

// refLocal counts a reference to a secret that does not come over ADS.
func (s *Store) refLocal(name string) {
	if isIdentity(name) {
		s.needIdentity()
		return
	}
	if s.locals == nil {
		s.locals = map[string]int{}
	}
	if s.locals[name]++; s.locals[name] == 1 && s.opt.Local != nil {
		s.opt.Local(name, true)
	}
}

// unrefLocal undoes refLocal. An identity is kept.
func (s *Store) unrefLocal(name string) {
	if s.locals[name] == 0 {
		return
	}
	if s.locals[name]--; s.locals[name] == 0 {
		delete(s.locals, name)
		s.opt.Secrets.Remove(name)
		delete(s.records, recordKey{wire.TypeSecret, name})
		if s.opt.Local != nil {
			s.opt.Local(name, false)
		}
	}
}

// needIdentity tells once that the proxy's own identity is wanted.
func (s *Store) needIdentity() {
	if !s.wantsIdentity && s.opt.NeedIdentity != nil {
		s.wantsIdentity = true
		s.opt.NeedIdentity()
		if s.opt.PushedRoots {
			s.secrets[wire.SecretRoot] = &heldSecret{refs: 1}
			s.subscribe(wire.TypeSecret, wire.SecretRoot)
		}
	}
}

func (s *Store) unrefSecrets(needs []need) {
	for _, n := range needs {
		if n.local {
			s.unrefLocal(n.name)
			continue
		}
		if n.path != "" {
			s.unrefFile(n)
			continue
		}
		h := s.secrets[n.name]
		if h == nil {
			continue
		}
		if h.refs--; h.refs == 0 {
			delete(s.secrets, n.name)
			delete(s.files, n.name)
			s.arrived(waitKey{wire.TypeSecret, n.name})
			s.opt.Secrets.Remove(n.name)
			s.unsubscribe(wire.TypeSecret, n.name)
		}
	}
}
