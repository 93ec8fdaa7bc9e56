package check

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/weftmesh/weft/control/model"
)

// clientTLS judges how a DestinationRule has clients talk TLS: to the service, to
// single ports, and to subsets.
func (c *checker) clientTLS(p *model.TrafficPolicySet) {
	policy := func(at, code string, t *model.ClientTLS, port uint16, labels map[string]string) {
		if t == nil {
			return
		}
		c.clientCredential(p, t, at)
		c.unverified(p, t, at, code)
		c.agree(p, t, at, port, labels)
	}
	policy("spec.trafficPolicy.tls", CodeUnverified, p.Policy.TLS, 0, nil)
	for i, n := range p.Policy.PortOrder {
		policy(fmt.Sprintf("spec.trafficPolicy.portLevelSettings[%d].tls", i), CodePortVerify, p.Policy.Ports[n].TLS, n, nil)
	}
	for i := range p.Subsets {
		sub := &p.Subsets[i]
		policy(fmt.Sprintf("spec.subsets[%d].trafficPolicy.tls", i), CodeUnverified, sub.Policy.TLS, 0, sub.Labels)
	}
}

// unverified notes servers that are checked against the authorities of the system,
// because nobody names another.
func (c *checker) unverified(p *model.TrafficPolicySet, t *model.ClientTLS, at, code string) {
	if t.Mode != model.ClientTLSSimple && t.Mode != model.ClientTLSMutual || t.CAFile != "" || t.Insecure {
		return
	}
	if s := c.secret(t.Credential); t.Credential != "" && (s == nil || s.CA != nil) {
		return
	}
	c.note(code, &p.Meta, at, fmt.Sprintf("names no authority for %s: its certificate is checked against those of the system", p.Host), "set caCertificates when the server's is another")
}

// agree judges mTLS of clients against what the servers demand.
func (c *checker) agree(p *model.TrafficPolicySet, t *model.ClientTLS, at string, port uint16, labels map[string]string) {
	s := c.service(p.Host)
	if s == nil || s.External || s.Selector == nil {
		return
	}
	for _, r := range c.runs[s.Namespace] {
		if !model.Matches(s.Selector, r.labels) || !model.Matches(labels, r.labels) {
			continue
		}
		mode, by := c.demanded(s.Namespace, r.labels, target(s, port))
		if by == nil {
			continue
		}
		mutual := t.Mode == model.ClientTLSIstioMutual
		if mutual && mode == model.MTLSDisable || !mutual && mode == model.MTLSStrict {
			c.fail(CodeMTLS, &p.Meta, at+".mode", fmt.Sprintf("%s does not fit mTLS %s, which %s (%s) demands of %s: connections fail",
				t.Mode, mode, short(&by.Meta), by.Origin, r.key.Title()), "change one of the two")
			return
		}
	}
}

// target is the workload's port behind a service's; 0: unknown, or no certain one.
func target(s *model.Service, port uint16) uint16 {
	p := s.Port(port)
	switch {
	case p == nil || p.TargetName != "":
		return 0
	case p.TargetPort != 0:
		return p.TargetPort
	}
	return port
}

// demanded is the mTLS mode of a workload, and the PeerAuthentication that says so;
// nil: none does. The workload's own beats its namespace's, which beats the mesh's.
func (c *checker) demanded(namespace string, labels map[string]string, port uint16) (model.MTLSMode, *model.PeerAuth) {
	var found [3]*model.PeerAuth
	for _, p := range c.s.PeerAuths {
		rank := 2
		switch {
		case p.Key.Namespace == namespace && len(p.Selector) > 0:
			rank = 0
		case p.Key.Namespace == namespace:
			rank = 1
		case p.Key.Namespace != c.s.Mesh.RootNamespace || len(p.Selector) > 0:
			continue
		}
		if found[rank] == nil && model.Matches(p.Selector, labels) {
			found[rank] = p
		}
	}
	for _, p := range found {
		if p == nil {
			continue
		}
		if m, ok := p.Ports[port]; ok && m != model.MTLSUnset {
			return m, p
		}
		if p.Mode != model.MTLSUnset {
			return p.Mode, p
		}
	}
	return model.MTLSUnset, nil
}

// outdated warns of a certificate whose time has not come, or has passed.
func (c *checker) outdated(m *model.Meta, field string, s *model.Secret) {
	block, _ := pem.Decode(s.Cert)
	if block == nil {
		return // judged where it was read
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return
	}
	name := s.Key.Namespace + "/" + s.Key.Name
	switch now := time.Now(); {
	case now.After(cert.NotAfter):
		c.fail(CodeCredential, m, field, fmt.Sprintf("the certificate of Secret %s has expired, on %s", name, cert.NotAfter.UTC().Format(time.DateOnly)), "renew it")
	case now.Before(cert.NotBefore):
		c.fail(CodeCredential, m, field, fmt.Sprintf("the certificate of Secret %s is not valid before %s", name, cert.NotBefore.UTC().Format(time.DateOnly)), "wait, or use another")
	}
}
