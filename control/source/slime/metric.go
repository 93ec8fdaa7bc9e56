package slime

import (
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
	if c.spec.Metric == nil || c.spec.Metric.Prometheus == nil {
		return
	}
	const at = "spec.metric.prometheus"
	p := c.spec.Metric.Prometheus
	address := p.Address
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		c.d.Invalid(at+".address", "write http://host:port", "%q is no address of a Prometheus server", p.Address)
	}
	out := &model.PrometheusMetrics{Address: strings.TrimSuffix(address, "/")}
	names := make([]string, 0, len(p.Handlers))
	for name := range p.Handlers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		h := p.Handlers[name]
		field := document.Join(at+".handlers", name)
		if strings.TrimSpace(h.Query) == "" {
			c.d.Error(document.CodeMissing, field+".query", "write PromQL", "is missing")
		}
		q := model.PrometheusQuery{Name: name, Query: h.Query}
		switch h.Type {
		case nil, "Value", float64(0):
		case "Group", float64(1):
			q.Grouped = true
		default:
			c.d.Invalid(field+".type", "", "must be Value or Group, got %v", h.Type)
		}
		out.Queries = append(out.Queries, q)
	}
	c.l.Prometheus = out
}
