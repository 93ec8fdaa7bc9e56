package listener

import (
	"fmt"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
)

// CodeNoLimits is of Findings about limits of a MetaRouter that the servers' Envoys, to which messages are bytes, do not carry out.
const CodeNoLimits = "WEFT0431"

// unlimited reports the limits of an inbound port whose protocol is one of messages to a stock Envoy.
func (b *Builder) unlimited(p *port) {
	protocol := p.Protocol.Messages()
	if protocol == "" || p.Service == nil || b.v.Proxy.Engine() != scope.EngineEnvoy {
		return
	}
	set := b.v.Index.Limits(p.Service.Host)
	if set == nil {
		return
	}
	report := func(field string) {
		b.report(model.Finding{
			Code: CodeNoLimits, Severity: model.Warning, Object: set.Written(), Origin: set.At(field), Field: field,
			Message: fmt.Sprintf("port %d of %s speaks %s, of which the service's proxy, a stock Envoy, sees bytes: the limit is not carried out",
				p.service, p.Service.Host, protocol),
			Remedy: "run the service with the engine go",
		})
	}
	if len(set.Limits.Local) > 0 {
		report("spec.localRateLimit")
	}
	if set.Limits.Global != nil {
		report("spec.globalRateLimit")
	}
}
