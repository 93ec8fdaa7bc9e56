package check

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// transcodings judges what requests of HTTP become for services.
func (c *checker) transcodings() {
	first := map[string]*model.Transcoding{}
	for _, t := range c.s.Transcodings {
		s := c.service(t.Host)
		if s == nil {
			if !c.refusedHost(t.Host) {
				c.warn(CodeNoHost, &t.Meta, "spec.host", fmt.Sprintf("no service has the host %q: it has no effect", t.Host), c.suggestHost(t.Host, t.Key.Namespace))
			}
			continue
		}
		if s.Namespace != t.Key.Namespace {
			c.warn(CodeNoHost, &t.Meta, "spec.host", fmt.Sprintf("%s is a service of the namespace %s: it has no effect from here", s.Host, s.Namespace), "write it in the namespace of the service")
			continue
		}
		protocol, used := "gRPC", false
		if t.Thrift != nil {
			protocol = "Thrift"
		}
		for i := range s.Ports {
			p := &s.Ports[i]
			if !t.Of(s, p) {
				continue
			}
			used = true
			key := fmt.Sprint(s.Host, " ", p.Port)
			if winner := first[key]; winner != nil {
				c.warn(CodeTaken, &t.Meta, "spec.host", fmt.Sprintf("port %d of %s has the one of %s (%s) already, which comes first", p.Port, s.Host, short(&winner.Meta), winner.Origin), "put them into one Transcoding")
				continue
			}
			first[key] = t
		}
		if !used {
			c.warn(CodePort, &t.Meta, "spec.port", fmt.Sprintf("no such port of %s speaks %s: it has no effect", short(&s.Meta), protocol),
				fmt.Sprintf("call a port %s, or set its appProtocol; it has %s", strings.ToLower(protocol), portList(s)))
		}
	}
}
