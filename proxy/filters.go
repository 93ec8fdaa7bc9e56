package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/http/buffer"
	"github.com/weftmesh/weft/proxy/http/connlimit"
	"github.com/weftmesh/weft/proxy/http/cors"
	"github.com/weftmesh/weft/proxy/http/csrf"
	"github.com/weftmesh/weft/proxy/http/fault"
	"github.com/weftmesh/weft/proxy/http/filterstate"
	"github.com/weftmesh/weft/proxy/http/headermutation"
	"github.com/weftmesh/weft/proxy/http/healthcheck"
	"github.com/weftmesh/weft/proxy/http/jwt"
	"github.com/weftmesh/weft/proxy/http/localrate"
	"github.com/weftmesh/weft/proxy/http/metadata"
	"github.com/weftmesh/weft/proxy/http/rbac"
	"github.com/weftmesh/weft/proxy/http/snicluster"
	"github.com/weftmesh/weft/proxy/telemetry/accesslog"
	"github.com/weftmesh/weft/proxy/telemetry/trace"
)

// httpKinds are the HTTP filters that a configuration may name. The router is
// the connection manager's own.
func (r *runtime) httpKinds() []filter.HTTPKind {
	return []filter.HTTPKind{
		buffer.Kind(),
		cors.Kind(),
		csrf.Kind(),
		fault.Kind(),
		filterstate.Kind(),
		headermutation.Kind(format.Options{Hostname: hostname(), Env: environment}),
		healthcheck.Kind(r.boot.Node.GetCluster(), r.members),
		jwt.Kind(),
		localrate.HTTPKind(),
		metadata.HeaderKind(),
		metadata.SetKind(),
		rbac.HTTPKind(),
		r.observe.metrics.HTTPKind(),
	}
}

// networkKinds are the network filters that may stand before
// http_connection_manager and tcp_proxy.
func (r *runtime) networkKinds() []filter.NetworkKind {
	return []filter.NetworkKind{
		connlimit.Kind(),
		localrate.NetworkKind(),
		rbac.NetworkKind(),
		r.observe.metrics.NetworkKind(),
		snicluster.Kind(),
	}
}

// members tells filters how a cluster is.
func (r *runtime) members(name string) (all, available int, ok bool) {
	c := r.clusters.Get(name)
	if c == nil {
		return 0, 0, false
	}
	st := c.Stats()
	return int(st.MembershipTotal.Load()), int(st.MembershipHealthy.Load() + st.MembershipDegraded.Load()), true
}

// sinks are where logs and spans go. They are made when a configuration first
// names them, and kept: configurations come and go and name the same ones.
type sinks struct {
	mu      sync.Mutex
	writers map[string]*accesslog.Writer
	tracers map[string]http.Tracer
}

// defaultLogFormat is Envoy's for access logs that name none.
const defaultLogFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ` +
	`%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ` +
	`"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// accessLog makes an access log.
func (r *runtime) accessLog(l config.AccessLog) (config.AccessLogger, error) {
	w, err := r.writer(l.Path)
	if err != nil {
		return nil, err
	}
	o := format.Options{Hostname: hostname(), Env: environment, Missing: "-"}
	if l.OmitEmpty {
		return nil, errors.New("log_format.omit_empty_values: not supported")
	}
	if l.JSON == nil {
		text := l.Format
		if text == "" {
			text = defaultLogFormat
		}
		return accesslog.NewText(w, text, o)
	}
	fields := make([]accesslog.Field, 0, len(l.JSON))
	for _, name := range slices.Sorted(maps.Keys(l.JSON)) {
		s, ok := l.JSON[name].(string)
		if !ok {
			return nil, fmt.Errorf("log_format.json_format.%s: only strings are supported", name)
		}
		fields = append(fields, accesslog.Field{Name: name, Format: s})
	}
	return accesslog.NewJSON(w, fields, o)
}

// writer returns the writer of a file.
func (r *runtime) writer(path string) (*accesslog.Writer, error) {
	r.sinks.mu.Lock()
	defer r.sinks.mu.Unlock()
	if w := r.sinks.writers[path]; w != nil {
		return w, nil
	}
	w, err := accesslog.Open(path)
	if err != nil {
		return nil, err
	}
	if r.sinks.writers == nil {
		r.sinks.writers = map[string]*accesslog.Writer{}
	}
	r.sinks.writers[path] = w
	r.run(w.Run)
	return w, nil
}

// tracer makes what makes spans.
func (r *runtime) tracer(t config.Tracing) (http.Tracer, error) {
	switch {
	case len(t.Tags) > 0:
		return nil, errors.New("custom_tags: not supported")
	case t.Client != 100:
		return nil, errors.New("client_sampling: only 100 is supported")
	case t.MaxPath != 0 && t.MaxPath != 256:
		return nil, errors.New("max_path_tag_length: only 256 is supported")
	case t.UpstreamSpan:
		return nil, errors.New("spawn_upstream_span: not supported")
	}
	r.sinks.mu.Lock()
	defer r.sinks.mu.Unlock()
	key := fmt.Sprintf("%+v", t)
	if tr := r.sinks.tracers[key]; tr != nil {
		return tr, nil
	}
	o := trace.Options{
		Service: t.ServiceName, Sampling: t.Random * t.Overall / 100, Outbound: t.Outbound, Log: r.log.With("component", "trace"),
	}
	var closer io.Closer
	if t.Cluster == "" {
		o.Sampling = 0 // nobody takes spans; contexts are passed on all the same
	} else {
		conn, err := grpc.NewClient("passthrough:///"+t.Cluster,
			grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) { return r.dialCluster(ctx, name) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		o.Exporter, closer = trace.NewOTLP(conn), conn
	}
	tr := trace.New(o)
	if closer != nil {
		r.run(func(ctx context.Context) error {
			err := tr.Run(ctx) // which sends what is left
			return errors.Join(err, closer.Close())
		})
	}
	if r.sinks.tracers == nil {
		r.sinks.tracers = map[string]http.Tracer{}
	}
	r.sinks.tracers[key] = tr
	return tr, nil
}

// dialCluster connects to a host of a cluster, for the proxy's own calls.
func (r *runtime) dialCluster(ctx context.Context, name string) (net.Conn, error) {
	c := r.clusters.Get(name)
	if c == nil {
		return nil, fmt.Errorf("there is no cluster %q", name)
	}
	h, flags := c.Pick(&cluster.Pick{})
	if h == nil {
		return nil, fmt.Errorf("cluster %q has no usable endpoint (%s)", name, flags)
	}
	return c.Connect(ctx, h)
}
