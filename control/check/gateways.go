package check

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// gateways judges Gateways.
func (c *checker) gateways() {
	type place struct {
		selector string
		port     uint16
	}
	type claim struct {
		gw  *model.Gateway
		srv *model.Server
	}
	ports := map[place]claim{}
	hosts := map[place]map[string]*model.Gateway{}
	for _, gw := range c.s.Gateways {
		c.gatewayWorkload(gw)
		for i := range gw.Servers {
			srv, at := &gw.Servers[i], fmt.Sprintf("spec.servers[%d]", i)
			c.serverCredentials(gw, srv, at+".tls")
			p := place{text(gw.Selector), srv.Port}
			if other, ok := ports[p]; ok && other.gw != gw && kindOf(other.srv.Protocol) != kindOf(srv.Protocol) {
				c.fail(CodeTaken, &gw.Meta, at+".port", fmt.Sprintf("port %d is %s in %s (%s), it cannot be %s here", srv.Port, other.srv.Protocol, short(&other.gw.Meta), other.gw.Origin, srv.Protocol), "use another port")
				continue
			} else if !ok {
				ports[p] = claim{gw, srv}
			}
			if !srv.Protocol.IsTLS() {
				continue
			}
			if hosts[p] == nil {
				hosts[p] = map[string]*model.Gateway{}
			}
			for j, h := range srv.Hosts {
				_, name, ok := strings.Cut(h, "/")
				if !ok {
					name = h
				}
				if winner := hosts[p][name]; winner != nil {
					c.warn(CodeTaken, &gw.Meta, fmt.Sprintf("%s.hosts[%d]", at, j), fmt.Sprintf("%q on port %d is served by %s (%s) already, which is used", name, srv.Port, short(&winner.Meta), winner.Origin), "remove one")
					continue
				}
				hosts[p][name] = gw
			}
		}
	}
}

// kindOf groups the protocols that can share a port.
func kindOf(p model.Protocol) string {
	switch {
	case p.IsHTTP():
		return "http"
	case p.IsTLS():
		return "tls"
	}
	return string(p)
}

// gatewayWorkload warns when gateways run, but not for this one.
func (c *checker) gatewayWorkload(gw *model.Gateway) {
	any := false
	for _, w := range c.s.Workloads {
		if w.Gateway {
			any = true
			if model.Matches(gw.Selector, w.Labels) {
				return
			}
		}
	}
	if any {
		c.warn(CodeNothing, &gw.Meta, "spec.selector", "no gateway that runs has the labels "+text(gw.Selector), "check the labels")
	}
}

func (c *checker) serverCredentials(gw *model.Gateway, srv *model.Server, at string) {
	t := srv.TLS
	if t == nil {
		return
	}
	for i, name := range t.Credentials {
		field := at + ".credentialName"
		if len(t.Credentials) > 1 {
			field = fmt.Sprintf("%s.credentialNames[%d]", at, i)
		}
		sec := c.gatewaySecret(gw, name)
		switch {
		case sec == nil:
			c.fail(CodeSecret, &gw.Meta, field, "there is no Secret "+name, c.suggestSecret(name))
		case sec.Cert == nil || sec.PrivateKey == nil:
			c.fail(CodeSecret, &gw.Meta, field, "Secret "+name+" has no certificate and key", "add tls.crt and tls.key")
		case (t.Mode == model.TLSMutual || t.Mode == model.TLSOptionalMutual) && t.CACredential == "" && sec.CA == nil && c.gatewaySecret(gw, name+"-cacert") == nil:
			c.fail(CodeSecret, &gw.Meta, field, "Secret "+name+" has no authority to check clients with", "add ca.crt, or a Secret "+name+"-cacert")
		}
	}
	if t.CACredential != "" && c.gatewaySecret(gw, t.CACredential) == nil {
		c.fail(CodeSecret, &gw.Meta, at+".caCertCredentialName", "there is no Secret "+t.CACredential, c.suggestSecret(t.CACredential))
	}
}

// gatewaySecret finds a Secret in the Gateway's namespace or, as Istio has it,
// in that of the workload that serves it.
func (c *checker) gatewaySecret(gw *model.Gateway, name string) *model.Secret {
	if s := c.secret(name); s != nil {
		return s
	}
	_, short, _ := strings.Cut(name, "/")
	if s := c.secret(c.s.Mesh.RootNamespace + "/" + short); s != nil {
		return s
	}
	for _, w := range c.s.Workloads {
		if w.Gateway && model.Matches(gw.Selector, w.Labels) {
			if s := c.secret(w.Namespace + "/" + short); s != nil {
				return s
			}
		}
	}
	return nil
}

func (c *checker) secret(name string) *model.Secret {
	ns, n, _ := strings.Cut(name, "/")
	s, _ := c.s.Objects[model.Key{Kind: model.KindSecret, Namespace: ns, Name: n}].(*model.Secret)
	return s
}

func (c *checker) suggestSecret(name string) string {
	ns, short, _ := strings.Cut(name, "/")
	var names []string
	for _, s := range c.s.Secrets {
		if s.Key.Namespace == ns {
			names = append(names, s.Key.Name)
		} else if s.Key.Name == short {
			return "it is in namespace " + s.Key.Namespace + ": move it"
		}
	}
	if best := closest(short, names); best != "" {
		return "did you mean " + best + "?"
	}
	return "add it, with tls.crt and tls.key"
}
