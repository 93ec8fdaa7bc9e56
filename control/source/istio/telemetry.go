package istio

import (
	"maps"
	"slices"
	"strings"
	"sync"

	telemetrypb "istio.io/api/telemetry/v1alpha1"
	typepb "istio.io/api/type/v1beta1"

	"cel.dev/cel-go/cel"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func convertTelemetry(d *document.Document) []model.Object {
	t := &telemetrypb.Telemetry{}
	if !d.Message("spec", d.Spec(), t) {
		return nil
	}
	out := &model.Telemetry{Meta: d.Meta, Selector: selector(d, t.GetSelector())}
	refs := t.GetTargetRefs()
	if r := t.GetTargetRef(); r != nil {
		refs = append([]*typepb.PolicyTargetReference{r}, refs...)
	}
	if len(refs) > 0 && out.Selector != nil {
		d.Invalid("spec.targetRefs", "keep one", "excludes selector")
	}
	out.Gateways = targetGateways(d, "spec.targetRefs", refs)
	for i, r := range t.GetTracing() {
		out.Tracing = append(out.Tracing, tracingRule(d, document.At("spec.tracing", i), r))
	}
	for i, r := range t.GetMetrics() {
		out.Metrics = append(out.Metrics, metricsRule(d, document.At("spec.metrics", i), r))
	}
	for i, r := range t.GetAccessLogging() {
		at := document.At("spec.accessLogging", i)
		l := model.LogRule{
			Mode: modes[r.GetMatch().GetMode()], Providers: providerNames(d, at+".providers", r.GetProviders()), Disabled: r.GetDisabled().GetValue(),
		}
		if f := r.GetFilter(); f != nil {
			l.Filter = f.GetExpression()
			expression(d, at+".filter.expression", l.Filter)
		}
		out.Logs = append(out.Logs, l)
	}
	return []model.Object{out}
}

var modes = map[telemetrypb.WorkloadMode]model.Mode{
	telemetrypb.WorkloadMode_CLIENT_AND_SERVER: model.BothSides,
	telemetrypb.WorkloadMode_CLIENT:            model.ClientSide,
	telemetrypb.WorkloadMode_SERVER:            model.ServerSide,
}

// targetGateways reads targetRefs: Gateways have proxies here, the rest is for
// waypoints. Never nil when there are references, so that one that is not
// carried out does not become a rule for everybody.
func targetGateways(d *document.Document, at string, refs []*typepb.PolicyTargetReference) []string {
	if len(refs) == 0 {
		return nil
	}
	out := []string{}
	for i, r := range refs {
		field := document.At(at, i)
		switch {
		case r.GetName() == "":
			d.Error(document.CodeMissing, field+".name", "name the Gateway", "is missing")
		case r.GetNamespace() != "" && r.GetNamespace() != d.Key.Namespace:
			d.Invalid(field+".namespace", "remove it", "must be the object's own namespace")
		case r.GetKind() == "Gateway" && r.GetGroup() == "gateway.networking.k8s.io":
			out = append(out, r.GetName())
		default:
			d.Warn(document.CodeIgnored, field, "use selector, or a Gateway of gateway.networking.k8s.io",
				"%s %s is for waypoints, which Weft does not have: it has no effect", r.GetKind(), r.GetName())
		}
	}
	return out
}

func providerNames(d *document.Document, at string, refs []*telemetrypb.ProviderRef) []string {
	var out []string
	for i, r := range refs {
		if r.GetName() == "" {
			d.Error(document.CodeMissing, document.At(at, i)+".name", "name an extensionProvider of the mesh configuration", "is missing")
			continue
		}
		out = append(out, r.GetName())
	}
	return out
}

func tracingRule(d *document.Document, at string, p *telemetrypb.Tracing) model.TracingRule {
	r := model.TracingRule{Mode: modes[p.GetMatch().GetMode()], Providers: providerNames(d, at+".providers", p.GetProviders())}
	if len(r.Providers) > 1 {
		d.Warn(document.CodeIgnored, document.At(at+".providers", 1), "keep one", "only the first is used")
	}
	if v := p.GetRandomSamplingPercentage(); v != nil {
		r.Sampling = new(v.GetValue())
		if *r.Sampling < 0 || *r.Sampling > 100 {
			d.Invalid(at+".randomSamplingPercentage", "", "must be from 0 to 100, got %v", *r.Sampling)
		}
	}
	for _, f := range []struct {
		into **bool
		from interface{ GetValue() bool }
		set  bool
	}{
		{&r.Disabled, p.GetDisableSpanReporting(), p.GetDisableSpanReporting() != nil},
		{&r.UseRequestID, p.GetUseRequestIdForTraceSampling(), p.GetUseRequestIdForTraceSampling() != nil},
		{&r.IstioTags, p.GetEnableIstioTags(), p.GetEnableIstioTags() != nil},
		{&r.NoPropagation, p.GetDisableContextPropagation(), p.GetDisableContextPropagation() != nil},
	} {
		if f.set {
			*f.into = new(f.from.GetValue())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.GetCustomTags())) {
		field := document.Join(at+".customTags", name)
		t := model.SpanTag{Name: name}
		what := ""
		switch v := p.GetCustomTags()[name].GetType().(type) {
		case *telemetrypb.Tracing_CustomTag_Literal:
			what, t.Value = "literal.value", v.Literal.GetValue()
		case *telemetrypb.Tracing_CustomTag_Environment:
			what, t.Kind, t.Value, t.Default = "environment.name", model.TagEnvironment, v.Environment.GetName(), v.Environment.GetDefaultValue()
		case *telemetrypb.Tracing_CustomTag_Header:
			what, t.Kind, t.Value, t.Default = "header.name", model.TagHeader, v.Header.GetName(), v.Header.GetDefaultValue()
		case *telemetrypb.Tracing_CustomTag_Formatter:
			what, t.Kind, t.Value = "formatter.value", model.TagFormat, v.Formatter.GetValue()
		default:
			d.Error(document.CodeMissing, field, "add literal, environment, header or formatter", "has no value")
			continue
		}
		if t.Value == "" {
			d.Error(document.CodeMissing, field+"."+what, "", "is missing")
		}
		if t.Kind == model.TagHeader && t.Value != "" {
			checkHeaderName(d, field+"."+what, t.Value)
		}
		r.Tags = append(r.Tags, t)
	}
	return r
}

// metricNames are Istio's words for metrics, and what Prometheus sees after "istio_".
var metricNames = map[telemetrypb.MetricSelector_IstioMetric]string{
	telemetrypb.MetricSelector_ALL_METRICS:            "",
	telemetrypb.MetricSelector_REQUEST_COUNT:          "requests_total",
	telemetrypb.MetricSelector_REQUEST_DURATION:       "request_duration_milliseconds",
	telemetrypb.MetricSelector_REQUEST_SIZE:           "request_bytes",
	telemetrypb.MetricSelector_RESPONSE_SIZE:          "response_bytes",
	telemetrypb.MetricSelector_TCP_OPENED_CONNECTIONS: "tcp_connections_opened_total",
	telemetrypb.MetricSelector_TCP_CLOSED_CONNECTIONS: "tcp_connections_closed_total",
	telemetrypb.MetricSelector_TCP_SENT_BYTES:         "tcp_sent_bytes_total",
	telemetrypb.MetricSelector_TCP_RECEIVED_BYTES:     "tcp_received_bytes_total",
	telemetrypb.MetricSelector_GRPC_REQUEST_MESSAGES:  "request_messages_total",
	telemetrypb.MetricSelector_GRPC_RESPONSE_MESSAGES: "response_messages_total",
}

func metricsRule(d *document.Document, at string, p *telemetrypb.Metrics) model.MetricsRule {
	r := model.MetricsRule{Providers: providerNames(d, at+".providers", p.GetProviders())}
	if p.GetReportingInterval() != nil {
		r.Every = new(duration(d, at+".reportingInterval", p.GetReportingInterval()))
	}
	for i, o := range p.GetOverrides() {
		oat := document.At(at+".overrides", i)
		m := model.MetricOverride{Mode: modes[o.GetMatch().GetMode()], Metric: metricNames[o.GetMatch().GetMetric()]}
		if c, named := o.GetMatch().GetMetricMatch().(*telemetrypb.MetricSelector_CustomMetric); named && c.CustomMetric == "" {
			d.Invalid(oat+".match.customMetric", "name a metric", "is empty")
		}
		if c := o.GetMatch().GetCustomMetric(); c != "" {
			m.Metric = strings.TrimPrefix(c, "istio_")
			if !slices.Contains(slices.Collect(maps.Values(metricNames)), m.Metric) {
				d.Warn(document.CodeIgnored, oat+".match.customMetric", "use match.metric", "there is no metric %q", c)
			}
		}
		if o.GetDisabled() != nil {
			m.Disabled = new(o.GetDisabled().GetValue())
		}
		for _, tag := range slices.Sorted(maps.Keys(o.GetTagOverrides())) {
			t := o.GetTagOverrides()[tag]
			field := document.Join(oat+".tagOverrides", tag)
			mt := model.MetricTag{Name: tag, Value: t.GetValue(), Remove: t.GetOperation() == telemetrypb.MetricsOverrides_TagOverride_REMOVE}
			switch {
			case !labelName(tag):
				d.Invalid(field, "use letters, digits and '_'", "%q cannot be the label of a metric", tag)
			case mt.Remove && mt.Value != "":
				d.Invalid(field+".value", "remove it", "has no meaning with operation REMOVE")
			case !mt.Remove && mt.Value == "":
				d.Error(document.CodeMissing, field+".value", `write an expression, e.g. request.host, or "'text'"`, "is missing")
			case !mt.Remove:
				expression(d, field+".value", mt.Value)
			}
			m.Tags = append(m.Tags, mt)
		}
		r.Overrides = append(r.Overrides, m)
	}
	return r
}

// labelName tells whether Prometheus takes the name of a label.
func labelName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && !strings.HasPrefix(s, "__")
}

var expressions = sync.OnceValue(func() *cel.Env {
	e, err := cel.NewEnv()
	if err != nil {
		panic("BUG: no CEL: " + err.Error())
	}
	return e
})

// expression judges the grammar of a CEL expression; what its names mean, only
// a proxy knows.
func expression(d *document.Document, field, text string) {
	if text == "" {
		d.Error(document.CodeMissing, field, "write e.g. response.code >= 400", "is missing")
		return
	}
	if _, issues := expressions().Parse(text); issues.Err() != nil {
		first, _, _ := strings.Cut(issues.Err().Error(), "\n")
		d.Invalid(field, "", "is no CEL expression: %s", strings.TrimPrefix(first, "ERROR: "))
	}
}
