package telemetry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	statspb "istio.io/api/envoy/extensions/stats"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/cel"
)

// settings is a compiled configuration of the filter istio.stats. There is one
// per content in a Metrics, so that an update which changes nothing does not
// begin to count anew.
type settings struct {
	// waypoint reports for servers that it stands before.
	waypoint bool
	// hostFallback takes the request's host as the destination service where the
	// configuration names none.
	hostFallback bool
	// every is how often TCP connections that last are reported; 0: when they end.
	every       time.Duration
	expressions []*cel.Value
	plans       map[string]*plan // by metric
}

// plan is how one metric's labels come about.
type plan struct {
	desc *prometheus.Desc
	// names of the labels; from has the place of each among the standard ones, or
	// that of an expression below 0 (-1 is the first).
	names   []string
	from    []int
	dropped bool
}

// family is a metric without the settings of a filter.
type family struct {
	name, help string
	labels     []string
}

// families of Istio's metrics, without the prefix "istio_".
var families = []family{
	{"requests_total", "Requests.", requestLabels},
	{"request_duration_milliseconds", "Duration of requests.", requestLabels},
	{"request_bytes", "Size of request bodies.", requestLabels},
	{"response_bytes", "Size of response bodies.", requestLabels},
	{"request_messages_total", "gRPC messages sent by clients.", requestLabels},
	{"response_messages_total", "gRPC messages sent by servers.", requestLabels},
	{"tcp_connections_opened_total", "TCP connections opened.", connLabels},
	{"tcp_connections_closed_total", "TCP connections closed.", connLabels},
	{"tcp_sent_bytes_total", "Bytes sent to clients of TCP connections.", connLabels},
	{"tcp_received_bytes_total", "Bytes received from clients of TCP connections.", connLabels},
}

// defaultReport is Istio's proxy's.
const defaultReport = 5 * time.Second

// compile reads a configuration. What nobody carries out, Istio's proxy neither,
// is no error; expressions that cannot be read are.
func compile(c *statspb.PluginConfig, node map[string]any) (*settings, error) {
	s := &settings{
		waypoint: c.Reporter == statspb.Reporter_SERVER_GATEWAY, hostFallback: !c.DisableHostHeaderFallback,
		plans: map[string]*plan{}, every: defaultReport,
	}
	if c.TcpReportingDuration != nil {
		s.every = c.TcpReportingDuration.AsDuration()
	}
	ids := map[string]int{}
	for _, f := range families {
		s.plans[f.name] = standard(f)
	}
	for i, m := range c.Metrics {
		for _, tag := range slices.Sorted(maps.Keys(m.Dimensions)) {
			text := m.Dimensions[tag]
			if _, ok := ids[text]; ok {
				continue
			}
			v, err := cel.CompileValue(text, node)
			if err != nil {
				return nil, fmt.Errorf("metrics[%d].dimensions[%q]: %w", i, tag, err)
			}
			s.expressions = append(s.expressions, v)
			ids[text] = -len(s.expressions)
		}
		for _, f := range families {
			if m.Name == "" || m.Name == f.name {
				s.plans[f.name].change(m, ids)
			}
		}
	}
	for _, f := range families {
		p := s.plans[f.name]
		p.desc = desc("istio_"+f.name, f.help, p.names)
	}
	return s, nil
}

// standard is a metric as it is without changes.
func standard(f family) *plan {
	p := &plan{names: slices.Clone(f.labels)}
	for i := range f.labels {
		p.from = append(p.from, i)
	}
	return p
}

// change lays one of a configuration's metrics over the plan.
func (p *plan) change(m *statspb.MetricConfig, ids map[string]int) {
	if m.Drop {
		p.dropped = true
		return
	}
	for _, tag := range m.TagsToRemove {
		if i := slices.Index(p.names, tag); i >= 0 {
			p.names = slices.Delete(p.names, i, i+1)
			p.from = slices.Delete(p.from, i, i+1)
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(m.Dimensions)) {
		id := ids[m.Dimensions[tag]]
		if i := slices.Index(p.names, tag); i >= 0 {
			p.from[i] = id
			continue
		}
		p.names = append(p.names, tag)
		p.from = append(p.from, id)
	}
}

// labels makes a series' labels of the standard ones and the expressions' values.
func (p *plan) labels(standard, values []string) []string {
	out := make([]string, len(p.from))
	for i, n := range p.from {
		if n >= 0 {
			out[i] = standard[n]
		} else {
			out[i] = values[-n-1]
		}
	}
	return out
}

// separator stands between the values of expressions in a key.
const separator = "\x00"

// evaluate returns the expressions' values for a request or connection.
func (s *settings) evaluate(i *filter.Info) string {
	if len(s.expressions) == 0 {
		return ""
	}
	values := make([]string, len(s.expressions))
	for n, e := range s.expressions {
		values[n] = strings.ReplaceAll(e.Text(i), separator, "")
	}
	return strings.Join(values, separator)
}

// withServer adds to the values of a waypoint who has answered. Few proxies are
// such, so that nobody else's key has room for it.
func withServer(values string, w filter.WorkloadRef) string {
	return strings.Join([]string{values, w.Name, w.Namespace, w.App, w.Version, w.Service, w.Revision, w.Cluster}, separator)
}

// before is who a waypoint's values name; nobody for others.
func before(s *settings, values string) (w filter.WorkloadRef) {
	if !s.waypoint {
		return w
	}
	parts := strings.Split(values, separator)
	for i, to := range []*string{&w.Name, &w.Namespace, &w.App, &w.Version, &w.Service, &w.Revision, &w.Cluster} {
		*to = parts[len(parts)-7+i]
	}
	return w
}
