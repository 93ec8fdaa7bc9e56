package slime

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	api "github.com/weftmesh/weft/api/slime/v1alpha2"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// shortest is Envoy's shortest time between two fills.
const shortest = 50 * time.Millisecond

// interval reads fill_interval; 0 where there is none. The global strategy takes any, too.
func interval(d *document.Document, at string, a *api.Action) time.Duration {
	if a.FillInterval == nil {
		return 0
	}
	t := time.Duration(a.FillInterval.Seconds)*time.Second + time.Duration(a.FillInterval.Nanos)
	if t < shortest {
		d.Invalid(at+".fill_interval", "", "is %v; it must be at least %v", t, shortest)
	}
	return t
}

// prometheus reads whom to ask.
func (c *converter) prometheus() {
	if c.spec.Metric != nil {
		c.l.Prometheus = Prometheus(c.d, "spec.metric.prometheus", c.spec.Metric.Prometheus)
	}
}

// Prometheus reads whom to ask for what, as it stands in a field; nil of nil.
func Prometheus(d *document.Document, at string, p *api.Prometheus) *model.PrometheusMetrics {
	if p == nil {
		return nil
	}
	address := p.Address
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		d.Invalid(at+".address", "write http://host:port", "%q is no address of a Prometheus server", p.Address)
	}
	out := &model.PrometheusMetrics{Address: strings.TrimSuffix(address, "/")}
	for _, name := range slices.Sorted(maps.Keys(p.Handlers)) {
		h := p.Handlers[name]
		field := document.Join(at+".handlers", name)
		if strings.TrimSpace(h.Query) == "" {
			d.Error(document.CodeMissing, field+".query", "write PromQL", "is missing")
		}
		q := model.PrometheusQuery{Name: name, Query: h.Query}
		switch h.Type {
		case nil, "Value", float64(0):
		case "Group", float64(1):
			q.Grouped = true
		default:
			d.Invalid(field+".type", "", "must be Value or Group, got %v", h.Type)
		}
		out.Queries = append(out.Queries, q)
	}
	return out
}
