package proxy

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/telemetry/trace"
)

// tracer makes what makes spans.
func (r *runtime) tracer(t config.Tracing) (http.Tracer, error) {
	r.sinks.mu.Lock()
	defer r.sinks.mu.Unlock()
	key := fmt.Sprintf("%+v", t)
	if tr := r.sinks.tracers[key]; tr != nil {
		return tr, nil
	}
	o := trace.Options{
		Client: t.Client, Random: t.Random, Overall: t.Overall, Outbound: t.Outbound, Attempts: t.UpstreamSpan,
		MaxPath: int(t.MaxPath), Tags: t.Tags, KeepRequestID: t.KeepRequestID, Chance: t.Chance, Node: r.boot.Node.GetId(),
		B3: t.Zipkin, Both: t.W3C, Shared: t.Zipkin && t.Shared, Short: t.Zipkin && !t.Long, Silent: t.Silent, Log: r.log.With("component", "trace"),
	}
	var closer io.Closer
	switch {
	case t.To.Cluster == "":
		o.Overall = 0 // nobody takes spans; contexts are passed on all the same
	case t.Zipkin:
		p := r.post(t.To, "application/json")
		o.Exporter, closer = &trace.Zipkin{Service: r.boot.Node.GetCluster(), Post: p.Send}, p
	case t.To.URL != "":
		p := r.post(t.To, "application/x-protobuf")
		o.Exporter, closer = trace.NewOTLPOver(p.Send, resource(t)...), p
	default:
		conn, err := r.collector(t.To)
		if err != nil {
			return nil, err
		}
		o.Exporter, closer = trace.NewOTLP(conn, resource(t)...), conn
	}
	tr := trace.New(o)
	if closer != nil {
		r.runClosing(tr.Run, closer)
	}
	if r.sinks.tracers == nil {
		r.sinks.tracers = map[string]http.Tracer{}
	}
	r.sinks.tracers[key] = tr
	return tr, nil
}

// resource is what a tracer's spans are of.
func resource(t config.Tracing) [][2]string {
	out := append([][2]string(nil), t.Resource...)
	if t.FromEnvironment {
		for pair := range strings.SplitSeq(os.Getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
			k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
			if text, err := url.PathUnescape(v); ok && err == nil {
				out = append(out, [2]string{k, text})
			}
		}
	}
	if t.ServiceName != "" {
		out = append(out, [2]string{"service.name", t.ServiceName})
	}
	return out
}
