package listener

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/authz"
)

// What the servers' Envoys do not carry out where messages of a protocol come in, which are bytes to them.
const (
	CodeNoLimits  = "WEFT0431" // limits of a MetaRouter
	CodeNoRequest = "WEFT0432" // what AuthorizationPolicies say about requests
)

// unread reports what a stock Envoy does not do for an inbound port whose protocol is one of messages.
func (b *Builder) unread(p *port) {
	protocol := p.Protocol.Messages()
	if protocol == "" || p.Service == nil || b.v.Proxy.Engine() != scope.EngineEnvoy {
		return
	}
	at := fmt.Sprintf("port %d of %s speaks %s, of which the service's proxy, a stock Envoy, sees bytes: ", p.service, p.Service.Host, protocol)
	report := func(code string, m *model.Meta, field, message string) {
		b.report(model.Finding{
			Code: code, Severity: model.Warning, Object: m.Written(), Origin: m.At(field), Field: field,
			Message: at + message, Remedy: "run the service with the engine go",
		})
	}
	if set := b.v.Index.Limits(p.Service.Host); set != nil {
		if len(set.Limits.Local) > 0 {
			report(CodeNoLimits, &set.Meta, "spec.localRateLimit", "the limit is not carried out")
		}
		if set.Limits.Global != nil {
			report(CodeNoLimits, &set.Meta, "spec.globalRateLimit", "the limit is not carried out")
		}
	}
	for _, a := range b.v.Authz() {
		if !authz.Concerns(b.v, a, protocol) {
			continue
		}
		effect := "the rule is applied to all connections that the rest of it is for"
		if a.Action == model.Allow {
			effect = "the rule allows nothing"
		}
		for i := range a.Rules {
			for _, field := range ofRequests(&a.Rules[i], p.Port) {
				report(CodeNoRequest, &a.Meta, "spec.rules["+strconv.Itoa(i)+"]."+field, effect)
			}
		}
	}
}

// ofRequests are the fields of a rule that are about requests at a port.
func ofRequests(r *model.AuthzRule, port uint16) (out []string) {
	for i := range r.To {
		o := &r.To[i]
		if len(o.Ports) > 0 && !slices.Contains(o.Ports, strconv.Itoa(int(port))) {
			continue
		}
		if len(o.Hosts)+len(o.NotHosts)+len(o.Methods)+len(o.NotMethods)+len(o.Paths)+len(o.NotPaths)+len(o.Interfaces)+len(o.NotInterfaces) > 0 {
			out = append(out, "to["+strconv.Itoa(i)+"].operation")
		}
	}
	for i := range r.When {
		if strings.HasPrefix(r.When[i].Key, "request.") {
			out = append(out, "when["+strconv.Itoa(i)+"]")
		}
	}
	return out
}
