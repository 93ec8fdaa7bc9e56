package peer

import (
	"net/url"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// baggage is the header of the ambient mesh (W3C baggage, with the names of
// OpenTelemetry's resource conventions).
func baggage(p *filter.Peer) string {
	kind := p.Kind
	if kind == "" {
		kind = "pod"
	}
	var parts []string
	for _, f := range [...]struct{ name, value string }{
		{"k8s." + kind + ".name", p.Name}, {"k8s.namespace.name", p.Namespace}, {"k8s.cluster.name", p.Cluster},
		{"service.name", p.Service}, {"service.version", p.Revision}, {"app.name", p.App}, {"app.version", p.Version},
		{"k8s.instance.name", p.Instance},
	} {
		if f.value != "" {
			parts = append(parts, f.name+"="+url.PathEscape(f.value))
		}
	}
	return strings.Join(parts, ",")
}

// ParseBaggage reads the header; nil: it says nothing of a workload.
func ParseBaggage(value string) *filter.Peer {
	p := &filter.Peer{}
	found := false
	for part := range strings.SplitSeq(value, ",") {
		part, _, _ = strings.Cut(part, ";") // properties of the member
		key, v, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			continue
		}
		v, err := url.PathUnescape(strings.TrimSpace(v))
		if err != nil {
			continue
		}
		found = setBaggage(p, strings.TrimSpace(key), v) || found
	}
	if !found {
		return nil
	}
	return p
}

// setBaggage takes one member; false: it is another's.
func setBaggage(p *filter.Peer, key, v string) bool {
	switch key {
	case "k8s.namespace.name":
		p.Namespace = v
	case "k8s.cluster.name":
		p.Cluster = v
	case "service.name":
		p.Service = v
	case "service.version":
		p.Revision = v
	case "app.name":
		p.App = v
	case "app.version":
		p.Version = v
	case "k8s.instance.name":
		p.Instance = v
	default:
		for _, k := range kinds {
			if key == "k8s."+k+".name" {
				p.Name, p.Kind = v, k
				return true
			}
		}
		return false
	}
	return true
}
