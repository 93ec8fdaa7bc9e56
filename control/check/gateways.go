package check

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// gateways judges Gateways.
func (c *checker) gateways() {
	places := map[uint16][]*place{}
	for _, gw := range c.s.Gateways {
		if gw.Of != (model.Key{}) {
			continue // control/attach has judged what it is made of
		}
		c.gatewayWorkload(gw)
		for i := range gw.Servers {
			srv, at := &gw.Servers[i], fmt.Sprintf("spec.servers[%d]", i)
			c.serverCredentials(gw, srv, at+".tls")
			c.claim(places, claim{gw, srv, at})
			if srv.Asked && srv.App != "" && !slices.ContainsFunc(c.s.Protocols, func(p *model.AppProtocol) bool { return p.Protocol == srv.App }) {
				c.warn(CodeUndeclared, &gw.Meta, at+".port", fmt.Sprintf("port %d is for %q, and no ApplicationProtocol says what that is: it is carried as %s", srv.Port, srv.App, spelt(srv.Protocol)),
					"add an ApplicationProtocol, or name the port by another protocol")
			}
		}
	}
}

// place is a port of the gateways of one selector, and who has what of it.
type place struct {
	selector map[string]string
	text     string
	first    claim
	hosts    map[string]claim // by bind address and host
	certs    []claim
}

// claim is a server of a Gateway.
type claim struct {
	gw  *model.Gateway
	srv *model.Server
	at  string
}

// claim judges a server against those before it on the same port of the same
// workloads, and adds it to them.
func (c *checker) claim(places map[uint16][]*place, x claim) {
	name := text(x.gw.Selector)
	var own *place
	for _, p := range places[x.srv.Port] {
		if p.text == name {
			own = p
		}
		if p.text != name && !c.meet(p.selector, x.gw.Selector) {
			continue
		}
		if p.first.gw != x.gw && kindOf(p.first.srv.Protocol) != kindOf(x.srv.Protocol) {
			c.fail(CodeTaken, &x.gw.Meta, x.at+".port", fmt.Sprintf("port %d is %s in %s (%s), it cannot be %s here",
				x.srv.Port, p.first.srv.Protocol, short(&p.first.gw.Meta), p.first.gw.Origin, x.srv.Protocol), "use another port")
			return
		}
		c.sameHosts(p, x)
		c.sameCertificate(p, x)
	}
	if own == nil {
		own = &place{selector: x.gw.Selector, text: name, first: x, hosts: map[string]claim{}}
		places[x.srv.Port] = append(places[x.srv.Port], own)
	}
	own.add(x)
}

func (p *place) add(x claim) {
	for _, h := range x.srv.Hosts {
		if key := hostKey(x.srv, h); p.hosts[key].gw == nil {
			p.hosts[key] = x
		}
	}
	if x.srv.TLS != nil {
		p.certs = append(p.certs, x)
	}
}

func hostKey(srv *model.Server, host string) string {
	if _, name, ok := strings.Cut(host, "/"); ok {
		host = name
	}
	return srv.Bind + " " + host
}

// sameHosts names hosts that another server has: of several with TLS one answers;
// without, the routes of both are put together.
func (c *checker) sameHosts(p *place, x claim) {
	for i, h := range x.srv.Hosts {
		winner := p.hosts[hostKey(x.srv, h)]
		if winner.gw == nil || winner.gw == x.gw && !x.srv.Protocol.IsTLS() {
			continue
		}
		_, name, _ := strings.Cut(hostKey(x.srv, h), " ")
		field := fmt.Sprintf("%s.hosts[%d]", x.at, i)
		if x.srv.Protocol.IsTLS() {
			c.warn(CodeTaken, &x.gw.Meta, field, fmt.Sprintf("%q on port %d is served by %s (%s) already, which is used", name, x.srv.Port, short(&winner.gw.Meta), winner.gw.Origin), "remove one")
			continue
		}
		c.note(CodeTaken, &x.gw.Meta, field, fmt.Sprintf("%q on port %d is a host of %s (%s) too: the routes of both are put together", name, x.srv.Port, short(&winner.gw.Meta), winner.gw.Origin), "remove one if that is not meant")
	}
}

// sameCertificate warns of servers for different hosts that show one certificate:
// HTTP/2 clients take a connection to one of them for the other.
func (c *checker) sameCertificate(p *place, x claim) {
	for _, o := range p.certs {
		if o.gw != x.gw && sameCert(o.srv.TLS, x.srv.TLS) {
			c.warn(CodeCertificate, &x.gw.Meta, x.at+".tls", fmt.Sprintf("%s (%s) shows the same certificate: clients that keep a connection to it get 404 for hosts of this one", short(&o.gw.Meta), o.gw.Origin),
				"put the hosts into one Gateway, or give each a certificate of its own")
			return
		}
	}
}

func sameCert(a, b *model.ServerTLS) bool {
	if a == nil || b == nil {
		return false
	}
	if len(a.Credentials) > 0 && len(b.Credentials) > 0 {
		_, x, _ := strings.Cut(a.Credentials[0], "/")
		_, y, _ := strings.Cut(b.Credentials[0], "/")
		return x == y // both mean the Secret beside the workload
	}
	return a.CertFile != "" && a.CertFile == b.CertFile && a.KeyFile == b.KeyFile
}

// meet tells whether any workload has both selectors.
func (c *checker) meet(a, b map[string]string) bool {
	key := [2]string{text(a), text(b)}
	known, ok := c.meets[key]
	if ok {
		return known
	}
	for _, list := range c.runs {
		for _, r := range list {
			if model.Matches(a, r.labels) && model.Matches(b, r.labels) {
				known = true
			}
		}
	}
	c.meets[key] = known
	return known
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

// usualGateway is the label of the gateway that Istio's installation brings along.
const usualGateway = "ingressgateway"

// gatewayWorkload warns when gateways or pods run, but not for this one, and when
// there are pods and no Service leads to its ports.
func (c *checker) gatewayWorkload(gw *model.Gateway) {
	if c.pods {
		if c.written(gw.Selector) {
			c.gatewayPorts(gw)
		} else if len(gw.Selector) != 1 || gw.Selector["istio"] != usualGateway {
			c.warn(CodeNothing, &gw.Meta, "spec.selector", "no pod has the labels "+text(gw.Selector), "check the labels")
		}
		return
	}
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

// written tells whether a pod or Process that somebody has written has the labels; a
// gateway that is only assumed does not count.
func (c *checker) written(selector map[string]string) bool {
	return slices.ContainsFunc(c.s.Cluster.Pods, func(p *model.Pod) bool { return model.Matches(selector, p.PodLabels) }) ||
		slices.ContainsFunc(c.s.Processes, func(p *model.Process) bool { return model.Matches(selector, p.Labels) })
}

// gatewayPorts warns of ports that no Service of the gateway's pods leads to.
func (c *checker) gatewayPorts(gw *model.Gateway) {
	for k := range c.refused {
		if k.Kind == model.KindService {
			return // it may be the one
		}
	}
	open := map[uint16]bool{}
	for _, s := range c.s.Services {
		if s.FromEntry || s.Selector == nil {
			continue
		}
		for _, r := range c.runs[s.Namespace] {
			if !model.Matches(gw.Selector, r.labels) || !model.Matches(s.Selector, r.labels) {
				continue
			}
			for i := range s.Ports {
				if p := &s.Ports[i]; p.Protocol != model.UDP {
					open[p.Port] = true
					open[p.TargetPort] = true
				}
			}
		}
	}
	for i := range gw.Servers {
		if n := gw.Servers[i].Port; !open[n] {
			c.warn(CodeGatewayPort, &gw.Meta, fmt.Sprintf("spec.servers[%d].port", i), fmt.Sprintf("no Service leads to port %d of the pods with the labels %s", n, text(gw.Selector)), "add the port to the gateway's Service")
		}
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
		if c.external(&gw.Meta, field, name) {
			continue
		}
		sec := c.gatewaySecret(gw, name)
		switch {
		case sec == nil && c.refusedSecret(name):
		case sec == nil:
			c.fail(CodeSecret, &gw.Meta, field, "there is no Secret "+name, c.suggestSecret(name))
		case sec.Cert == nil || sec.PrivateKey == nil:
			c.fail(CodeCredential, &gw.Meta, field, "Secret "+name+" has no certificate and key", "add tls.crt and tls.key")
		case (t.Mode == model.TLSMutual || t.Mode == model.TLSOptionalMutual) && t.CACredential == "" && sec.CA == nil && c.gatewaySecret(gw, name+"-cacert") == nil:
			c.fail(CodeCredential, &gw.Meta, field, "Secret "+name+" has no authority to check clients with", "add ca.crt, or a Secret "+name+"-cacert")
		case !bytes.Contains(sec.Cert, []byte("BEGIN CERTIFICATE")):
			c.fail(CodeCredential, &gw.Meta, field, "Secret "+name+" has no certificate in PEM", "put PEM into tls.crt")
		default:
			c.outdated(&gw.Meta, field, sec)
		}
	}
	if t.CACredential != "" && !c.external(&gw.Meta, at+".caCertCredentialName", t.CACredential) && c.gatewaySecret(gw, t.CACredential) == nil && !c.refusedSecret(t.CACredential) {
		c.fail(CodeSecret, &gw.Meta, at+".caCertCredentialName", "there is no Secret "+t.CACredential, c.suggestSecret(t.CACredential))
	}
}

// external tells whether a credential is of an SDS server, and looks whether there is one.
func (c *checker) external(of *model.Meta, field, name string) bool {
	if !strings.HasPrefix(name, model.ExternalSecret) {
		return false
	}
	if c.s.Mesh.SecretServer() == nil {
		c.fail(CodeSecret, of, field, "there is no SDS server for "+name, "add a provider with sds to extensionProviders of the mesh configuration")
	}
	return true
}

// gatewaySecret finds a Secret in the Gateway's namespace or, as Istio has it,
// in that of the workload that serves it.
func (c *checker) gatewaySecret(gw *model.Gateway, name string) *model.Secret {
	_, short, _ := strings.Cut(name, "/")
	for _, p := range c.s.Cluster.Pods {
		if model.Matches(gw.Selector, p.PodLabels) {
			return c.secret(p.Key.Namespace + "/" + short)
		}
	}
	if s := c.secret(name); s != nil {
		return s
	}
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

// refusedSecret tells whether a Secret of that name is refused, wherever it is: a
// gateway's may be beside its workload.
func (c *checker) refusedSecret(name string) bool {
	_, short, _ := strings.Cut(name, "/")
	for k := range c.refused {
		if k.Kind == model.KindSecret && k.Name == short {
			return true
		}
	}
	return false
}

func (c *checker) secret(name string) *model.Secret {
	ns, n, _ := strings.Cut(name, "/")
	s, _ := c.s.Objects.Get(model.Key{Kind: model.KindSecret, Namespace: ns, Name: n}).(*model.Secret)
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
