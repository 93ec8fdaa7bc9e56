package listener

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// stats is the configuration of Istio's metrics filter, which the Go proxy has
// and a stock Envoy lacks; nil: no metrics are made.
func (b *Builder) stats(s stage) *udpav1.TypedStruct {
	m := &b.telemetryOf(s).Metrics
	if m.Off {
		return nil
	}
	config := statsConfig(m)
	if s != outbound {
		// What strangers write into Host must not name a series: there is no end of names.
		if config.Fields == nil {
			config.Fields = map[string]*structpb.Value{}
		}
		config.Fields["disable_host_header_fallback"] = structpb.NewBoolValue(true)
	}
	return &udpav1.TypedStruct{TypeUrl: "type.googleapis.com/stats.PluginConfig", Value: config}
}

// statsConfig is Istio's message stats.PluginConfig in its JSON form.
func statsConfig(m *scope.Metrics) *structpb.Struct {
	out := &structpb.Struct{}
	set := func(k string, v *structpb.Value) {
		if out.Fields == nil {
			out.Fields = map[string]*structpb.Value{}
		}
		out.Fields[k] = v
	}
	if m.Every != nil {
		set("tcp_reporting_duration", structpb.NewStringValue(strconv.FormatFloat(m.Every.Seconds(), 'f', -1, 64)+"s"))
	}
	var list []*structpb.Value
	for _, o := range m.Overrides {
		fields := map[string]*structpb.Value{"name": structpb.NewStringValue(o.Metric)}
		dimensions := map[string]*structpb.Value{}
		var remove []*structpb.Value
		for _, t := range o.Tags {
			if t.Remove {
				remove = append(remove, structpb.NewStringValue(t.Name))
			} else {
				dimensions[t.Name] = structpb.NewStringValue(t.Value)
			}
		}
		if o.Drop {
			fields["drop"] = structpb.NewBoolValue(true)
		}
		if len(dimensions) > 0 {
			fields["dimensions"] = structpb.NewStructValue(&structpb.Struct{Fields: dimensions})
		}
		if remove != nil {
			fields["tags_to_remove"] = structpb.NewListValue(&structpb.ListValue{Values: remove})
		}
		list = append(list, structpb.NewStructValue(&structpb.Struct{Fields: fields}))
	}
	if list != nil {
		set("metrics", structpb.NewListValue(&structpb.ListValue{Values: list}))
	}
	return out
}

// inLog are the attributes that an access log's entry has, by which the agent of
// a stock Envoy evaluates the expressions of labels.
var inLog = []string{
	"request.path", "request.url_path", "request.query", "request.host", "request.scheme", "request.method", "request.useragent",
	"request.referer", "request.id", "request.protocol", "request.size", "request.duration", "request.time", "request.headers",
	"response.code", "response.code_details", "response.size", "response.headers", "response.flags", "response.grpc_status",
	"connection.uri_san_peer_certificate", "connection.uri_san_local_certificate", "source.address", "source.port",
	"destination.address", "destination.port", "upstream.address", "upstream.port", "xds.cluster_name", "xds.route_name",
}

var (
	quoted     = regexp.MustCompile(`'[^']*'|"[^"]*"`)
	attributes = regexp.MustCompile(`\b[a-z_]+\.[a-z_]+`)
	headerUse  = regexp.MustCompile(`\b(request|response)\.headers\s*\[\s*['"]([^'"]+)['"]\s*\]`)
)

// logged is what the agent of a stock Envoy needs to make the metrics that the
// Go proxy's filter makes: the log's name, in which the settings travel, and
// the headers that labels are made of.
type logged struct {
	name              string
	request, response []string
}

// logOf makes the name of the log that metrics are made from; not ok: none are made.
func (b *Builder) logOf(s stage) (logged, bool) {
	m := &b.telemetryOf(s).Metrics
	out := logged{name: s.String(), request: []string{"content-type"}, response: []string{"grpc-status"}}
	if m.Off {
		return out, false
	}
	if m.Every != nil {
		b.missing(m, "reportingInterval", "connections are counted when they end")
	}
	kept := scope.Metrics{}
	for _, o := range m.Overrides {
		o.Tags = slices.DeleteFunc(slices.Clone(o.Tags), func(t model.MetricTag) bool { return !b.evaluable(m, t) })
		if !o.Drop && len(o.Tags) == 0 {
			continue
		}
		kept.Overrides = append(kept.Overrides, o)
		for _, t := range o.Tags {
			for _, use := range headerUse.FindAllStringSubmatch(t.Value, -1) {
				list := &out.request
				if use[1] == "response" {
					list = &out.response
				}
				if name := strings.ToLower(use[2]); !slices.Contains(*list, name) {
					*list = append(*list, name)
				}
			}
		}
	}
	if kept.Overrides != nil {
		out.name = wire.LogName(out.name, statsConfig(&kept).AsMap())
	}
	return out, true
}

// evaluable tells whether the agent can make a label; if not it is reported.
func (b *Builder) evaluable(m *scope.Metrics, t model.MetricTag) bool {
	if t.Remove {
		return true
	}
	for _, a := range attributes.FindAllString(quoted.ReplaceAllString(t.Value, "''"), -1) {
		if !slices.Contains(inLog, a) {
			b.missing(m, "tagOverrides."+t.Name, "a stock Envoy's log does not tell "+a+": the label is left out")
			return false
		}
	}
	return true
}

// missing reports what a stock Envoy and its agent cannot do.
func (b *Builder) missing(m *scope.Metrics, what, why string) {
	if m.From == nil {
		return
	}
	b.report(model.Finding{
		Code: CodeMetrics, Severity: model.Warning, Object: m.From.Key, Origin: m.From.At("spec.metrics"), Field: "spec.metrics",
		Message: what + " is not carried out by the Envoy engine: " + why, Remedy: "use the Go engine for this workload",
	})
}
