package check

import (
	"fmt"

	"github.com/weftmesh/weft/control/model"
)

// policies judges DestinationRules.
func (c *checker) policies() {
	first := map[string]*model.TrafficPolicySet{}
	for _, p := range c.s.Policies {
		if p.Of != (model.Key{}) {
			continue // control/attach has judged what it is made of
		}
		c.policyHost(p)
		c.clientTLS(p)
		key := p.Key.Namespace + " " + p.Host
		if p.Selector != nil {
			continue
		}
		if winner := first[key]; winner != nil {
			c.warn(CodeTaken, &p.Meta, "spec.host", fmt.Sprintf("%s has settings in %s (%s) already, which come first", p.Host, short(&winner.Meta), winner.Origin), "put them into one DestinationRule")
			continue
		}
		first[key] = p
	}
}

func (c *checker) policyHost(p *model.TrafficPolicySet) {
	s := c.service(p.Host)
	if s == nil {
		if !c.covers(p.Host) && !c.refusedHost(p.Host) {
			c.warn(CodeNoHost, &p.Meta, "spec.host", fmt.Sprintf("no service has the host %q: the rule is not used", p.Host), c.suggestHost(p.Host, p.Key.Namespace))
		}
		return
	}
	for n := range p.Policy.Ports {
		if s.Port(n) == nil {
			c.warn(CodePort, &p.Meta, "spec.trafficPolicy.portLevelSettings", fmt.Sprintf("%s has no port %d", short(&s.Meta), n), "it has "+portList(s))
		}
	}
	if s.Selector == nil && len(s.Inline) == 0 {
		return
	}
	for i := range p.Subsets {
		sub := &p.Subsets[i]
		if len(sub.Labels) > 0 && !c.serves(s, sub.Labels) {
			c.warn(CodeNothing, &p.Meta, fmt.Sprintf("spec.subsets[%d].labels", i), fmt.Sprintf("nothing of %s has the labels %s: the subset is empty", short(&s.Meta), text(sub.Labels)), "check the labels of the processes")
		}
	}
}

// serves tells whether any endpoint of a service has the labels.
func (c *checker) serves(s *model.Service, labels map[string]string) bool {
	for i := range s.Inline {
		if model.Matches(labels, s.Inline[i].Labels) {
			return true
		}
	}
	if s.Selector == nil {
		return false
	}
	for _, r := range c.runs[s.Namespace] {
		if model.Matches(s.Selector, r.labels) && model.Matches(labels, r.labels) {
			return true
		}
	}
	return false
}

func (c *checker) clientCredential(p *model.TrafficPolicySet, t *model.ClientTLS, at string) {
	if t.Credential == "" {
		return
	}
	field := at + ".credentialName"
	sec := c.secret(t.Credential)
	switch {
	case sec == nil && c.refusedSecret(t.Credential):
	case sec == nil:
		c.fail(CodeSecret, &p.Meta, field, "there is no Secret "+t.Credential, c.suggestSecret(t.Credential))
	case t.Mode == model.ClientTLSMutual && (sec.Cert == nil || sec.PrivateKey == nil):
		c.fail(CodeCredential, &p.Meta, field, "Secret "+t.Credential+" has no certificate and key", "add tls.crt and tls.key")
	default:
		c.outdated(&p.Meta, field, sec)
	}
}
