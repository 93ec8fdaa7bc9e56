package scope

import (
	"cmp"
	"slices"
	"time"

	"github.com/weftmesh/weft/control/model"
)

const gatewayName = model.LabelGateway

// Telemetry is what the Telemetry resources and the mesh configuration together
// say about one side of a proxy's traffic.
type Telemetry struct {
	Metrics Metrics
	Tracing Tracing
	// Logs are sorted by the provider's name.
	Logs []Log
}

// Metrics says how Istio's metrics are made.
type Metrics struct {
	// Off: none are made.
	Off bool
	// Every is how often connections that last are reported; nil: the default.
	Every     *time.Duration
	Overrides []MetricOverride
	// From is the resource that has the last word, nil when none has any.
	From *model.Meta
}

// MetricOverride is what changes about one metric.
type MetricOverride struct {
	Metric string
	Drop   bool
	Tags   []model.MetricTag
}

// Tracing says how spans are made; without a provider none are.
type Tracing struct {
	Provider *model.Provider
	// Sampling in percent.
	Sampling                float64
	Tags                    []model.SpanTag
	UseRequestID, IstioTags bool
	NoPropagation           bool
	// MaxTag bounds the tag of the path; 0: the provider's, or the proxy's default.
	MaxTag uint32
	// From is the resource that has the last word, or the mesh configuration.
	From *model.Meta
}

// Log is an access log.
type Log struct {
	Provider *model.Provider
	Filter   string
	From     *model.Meta
}

// Telemetry returns what holds for one side (model.ClientSide or
// model.ServerSide). The order is Istio's: the mesh configuration, the root
// namespace's resource, the namespace's, the workload's; the later beats the
// earlier. Names of providers that there are not are passed over: control/check
// reports them.
func (v *View) Telemetry(side model.Mode) Telemetry {
	list := v.Telemetries()
	return Telemetry{Metrics: v.metrics(list, side), Tracing: v.tracing(list, side), Logs: v.logs(list, side)}
}

// Telemetries are the resources that hold for the proxy, the widest first.
func (v *View) Telemetries() []*model.Telemetry {
	var out []*model.Telemetry
	own, root := v.Proxy.Namespace(), v.Mesh.RootNamespace
	for _, namespace := range slices.Compact([]string{root, own}) {
		for _, t := range v.Index.telemetry[namespace] {
			if t.Selector == nil && t.Gateways == nil {
				out = append(out, t)
				break // the oldest one decides
			}
		}
	}
	for _, t := range v.Index.telemetry[own] {
		if t.Selector == nil && t.Gateways == nil {
			continue
		}
		labels := v.Proxy.Labels()
		if t.Gateways != nil && slices.Contains(t.Gateways, labels[gatewayName]) || t.Gateways == nil && model.Matches(t.Selector, labels) {
			return append(out, t)
		}
	}
	return out
}

func (v *View) metrics(list []*model.Telemetry, side model.Mode) Metrics {
	names := v.Mesh.DefaultMetrics
	if names == nil {
		names = []string{"prometheus"}
	}
	out := Metrics{Off: !v.counts(names)}
	byMetric := map[string]*MetricOverride{}
	for _, t := range list {
		for i := range t.Metrics {
			r := &t.Metrics[i]
			if r.Providers != nil {
				names = r.Providers
			}
			if out.From == nil {
				out.Off = true // rules take the place of the default providers
			}
			out.From = &t.Meta
			if r.Every != nil {
				out.Every = r.Every
			}
			if !v.counts(names) {
				continue
			}
			out.Off = false
			for _, o := range r.Overrides {
				if o.Mode.Covers(side) {
					override(byMetric, &o)
				}
			}
		}
	}
	dropped := 0
	for _, o := range byMetric {
		out.Overrides = append(out.Overrides, *o)
		if o.Drop {
			dropped++
		}
	}
	slices.SortFunc(out.Overrides, func(a, b MetricOverride) int { return cmp.Compare(a.Metric, b.Metric) })
	out.Off = out.Off || dropped == len(allMetrics)
	return out
}

// counts tells whether one of the providers is Prometheus.
func (v *View) counts(names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		p := v.Mesh.Provider(n)
		return p != nil && p.Kind == model.ProviderPrometheus
	})
}

// allMetrics are those that an override without a name is for.
var allMetrics = []string{
	"requests_total", "request_duration_milliseconds", "request_bytes", "response_bytes", "request_messages_total", "response_messages_total",
	"tcp_connections_opened_total", "tcp_connections_closed_total", "tcp_sent_bytes_total", "tcp_received_bytes_total",
}

func override(by map[string]*MetricOverride, o *model.MetricOverride) {
	names := allMetrics
	if o.Metric != "" {
		names = []string{o.Metric}
	}
	for _, n := range names {
		m := by[n]
		if m == nil {
			m = &MetricOverride{Metric: n}
			by[n] = m
		}
		if o.Disabled != nil {
			m.Drop = *o.Disabled
		}
		for _, t := range o.Tags {
			i, ok := slices.BinarySearchFunc(m.Tags, t.Name, func(x model.MetricTag, name string) int { return cmp.Compare(x.Name, name) })
			if ok {
				m.Tags[i] = t
			} else {
				m.Tags = slices.Insert(m.Tags, i, t)
			}
		}
	}
}

func (v *View) tracing(list []*model.Telemetry, side model.Mode) Tracing {
	out := Tracing{Sampling: v.Mesh.Sampling, UseRequestID: true, IstioTags: !v.Mesh.NoIstioTags, From: &v.Mesh.Meta, Provider: v.Mesh.Tracing}
	own := v.Requests.Spans
	if own == nil {
		own = &model.SpanSettings{}
	}
	if own.Provider != nil {
		out.Provider = own.Provider
	}
	set(&out.Sampling, own.Sampling)
	if own.NoIstioTags != nil {
		out.IstioTags = !*own.NoIstioTags
	}
	out.MaxTag = cmp.Or(own.MaxTag, v.Mesh.MaxTag)
	named := len(v.Mesh.DefaultTracing) > 0
	if named {
		out.Provider = v.tracer(v.Mesh.DefaultTracing[0])
	}
	disabled := false
	for _, t := range list {
		for i := range t.Tracing {
			if !named {
				// The older settings hold only where nothing newer is said.
				named, out.Provider = true, nil
			}
			r := &t.Tracing[i]
			if !r.Mode.Covers(side) {
				continue
			}
			out.From = &t.Meta
			if len(r.Providers) > 0 {
				out.Provider = v.tracer(r.Providers[0])
			}
			set(&disabled, r.Disabled)
			set(&out.Sampling, r.Sampling)
			set(&out.UseRequestID, r.UseRequestID)
			set(&out.IstioTags, r.IstioTags)
			set(&out.NoPropagation, r.NoPropagation)
			if r.Tags != nil {
				out.Tags = r.Tags
			}
		}
	}
	if out.Tags == nil {
		out.Tags = own.Tags
	}
	if out.Tags == nil {
		out.Tags = v.Mesh.TraceTags
	}
	if disabled {
		out.Provider = nil
	}
	return out
}

// tracer is the provider of that name, if spans can go there.
func (v *View) tracer(name string) *model.Provider {
	if p := v.Mesh.Provider(name); p != nil && p.Kind.Traces() {
		return p
	}
	return nil
}

func set[T any](into, from *T) {
	if from != nil {
		*into = *from
	}
}

// logs follows Istio: the narrowest resource that names providers says which
// ones are written; filters and disabled add up from the widest on.
func (v *View) logs(list []*model.Telemetry, side model.Mode) []Log {
	wanted := v.Mesh.DefaultLogs
	said := false
	for _, t := range list {
		var names []string
		for i := range t.Logs {
			said = true
			if t.Logs[i].Mode.Covers(side) {
				names = append(names, t.Logs[i].Providers...)
			}
		}
		if names != nil {
			wanted = names
		}
	}
	out := map[string]Log{}
	add := func(name string, l Log) {
		if l.Provider = v.Mesh.Provider(name); l.Provider != nil && l.Provider.Kind.Logs() {
			out[name] = l
		}
	}
	switch {
	case said:
		v.ruledLogs(list, side, wanted, out, add)
	case len(wanted) > 0:
		for _, n := range wanted {
			add(n, Log{From: &v.Mesh.Meta})
		}
	}
	if path := v.Mesh.AccessLogFile; path != "" && !said && len(wanted) == 0 {
		return []Log{{Provider: &model.Provider{Name: model.BuiltinLog, Kind: model.ProviderFileLog, Path: path}, From: &v.Mesh.Meta}}
	}
	logs := make([]Log, 0, len(out))
	for _, l := range out {
		logs = append(logs, l)
	}
	slices.SortFunc(logs, func(a, b Log) int { return cmp.Compare(a.Provider.Name, b.Provider.Name) })
	return logs
}

func (v *View) ruledLogs(list []*model.Telemetry, side model.Mode, wanted []string, out map[string]Log, add func(string, Log)) {
	parent := v.Mesh.DefaultLogs
	for _, t := range list {
		for i := range t.Logs {
			r := &t.Logs[i]
			names := r.Providers
			if len(names) == 0 {
				names = parent
			}
			parent = names
			if !r.Mode.Covers(side) {
				continue
			}
			for _, n := range names {
				switch {
				case !slices.Contains(wanted, n):
				case r.Disabled:
					delete(out, n)
				default:
					add(n, Log{Filter: r.Filter, From: &t.Meta})
				}
			}
		}
	}
}
