package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/cluster/health"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/telemetry/accesslog"
	"github.com/weftmesh/weft/proxy/telemetry/als"
	"github.com/weftmesh/weft/proxy/telemetry/export"
)

// sinks are where logs and spans go. They are made when a configuration first
// names them, and kept: configurations come and go and name the same ones.
type sinks struct {
	mu      sync.Mutex
	writers map[string]*accesslog.Writer
	loggers map[string]config.AccessLogger
	tracers map[string]http.Tracer
}

// defaultLogFormat is Envoy's for access logs that name none.
const defaultLogFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ` +
	`%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% ` +
	`"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// callTimeout bounds a call to a collector for which none is configured.
const callTimeout = 10 * time.Second

// accessLog makes an access log.
func (r *runtime) accessLog(l config.AccessLog) (config.AccessLogger, error) {
	o := format.Options{Hostname: hostname(), Env: environment, Missing: "-"}
	switch {
	case l.GRPC != nil:
		return r.shared(fmt.Sprintf("als %+v", *l.GRPC), func() (config.AccessLogger, error) { return r.grpcLog(l.GRPC) })
	case l.OTLP != nil:
		return r.shared(fmt.Sprintf("otlp %+v", *l.OTLP), func() (config.AccessLogger, error) { return r.otlpLog(l.OTLP, o) })
	}
	r.sinks.mu.Lock()
	w, err := r.writer(l.Path)
	r.sinks.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if l.JSON != nil {
		return accesslog.NewJSON(w, l.JSON, o, l.OmitEmpty)
	}
	text := l.Format
	if text == "" {
		text = defaultLogFormat
	}
	if l.OmitEmpty {
		o.Missing = ""
	}
	return accesslog.NewText(w, text, o)
}

// shared makes what goes by a key once.
func (r *runtime) shared(key string, make_ func() (config.AccessLogger, error)) (config.AccessLogger, error) {
	r.sinks.mu.Lock()
	defer r.sinks.mu.Unlock()
	if l := r.sinks.loggers[key]; l != nil {
		return l, nil
	}
	l, err := make_()
	if err != nil {
		return nil, err
	}
	if r.sinks.loggers == nil {
		r.sinks.loggers = map[string]config.AccessLogger{}
	}
	r.sinks.loggers[key] = l
	return l, nil
}

// writer returns the writer of a file; sinks.mu is held.
func (r *runtime) writer(path string) (*accesslog.Writer, error) {
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

func (r *runtime) grpcLog(l *config.GRPCLog) (config.AccessLogger, error) {
	conn, err := r.collector(l.To)
	if err != nil {
		return nil, err
	}
	out := als.New(als.Options{
		Name: l.Name, Node: r.boot.Node, TCP: l.TCP, RequestHeaders: l.RequestHeaders, ResponseHeaders: l.ResponseHeaders,
		Trailers: l.Trailers, Tags: l.Tags, Objects: l.Objects, Every: l.Every, Bytes: l.Bytes, Conn: conn, Log: r.log.With("component", "accesslog"),
	})
	r.runClosing(out.Run, conn)
	return out, nil
}

func (r *runtime) otlpLog(l *config.OTLPLog, o format.Options) (config.AccessLogger, error) {
	resource := map[string]string{}
	if !l.NoLabels {
		resource["log_name"], resource["zone_name"] = l.Name, r.boot.Node.GetLocality().GetZone()
		resource["cluster_name"], resource["node_name"] = r.boot.Node.GetCluster(), r.boot.Node.GetId()
	}
	for k, v := range l.Resource {
		resource[k] = v
	}
	spec := accesslog.OTLPOptions{
		Body: l.Body, Attributes: l.Attributes, Resource: resource, Tags: l.Tags, Objects: l.Objects, Every: l.Every, Bytes: l.Bytes,
		Log: r.log.With("component", "accesslog"),
	}
	var closer io.Closer
	if l.To.URL != "" {
		p := r.post(l.To, "application/x-protobuf")
		spec.Send, closer = func(ctx context.Context, m *logspb.ExportLogsServiceRequest) error { return postProto(ctx, p, m) }, p
	} else {
		conn, err := r.collector(l.To)
		if err != nil {
			return nil, err
		}
		client := logspb.NewLogsServiceClient(conn)
		spec.Send = func(ctx context.Context, m *logspb.ExportLogsServiceRequest) error {
			_, err := client.Export(ctx, m)
			return err
		}
		closer = conn
	}
	out, err := accesslog.NewOTLP(spec, o)
	if err != nil {
		return nil, errors.Join(err, closer.Close())
	}
	r.runClosing(out.Run, closer)
	return out, nil
}

// runClosing runs a part, and closes what it used.
func (r *runtime) runClosing(run func(context.Context) error, c io.Closer) {
	r.run(func(ctx context.Context) error {
		err := run(ctx) // which sends what is left
		return errors.Join(err, c.Close())
	})
}

// collector is a connection for gRPC calls to a cluster.
func (r *runtime) collector(c config.Collector) (*grpc.ClientConn, error) {
	opts := []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, name string) (net.Conn, error) { return r.dialCluster(ctx, name) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	}
	if c.Authority != "" {
		opts = append(opts, grpc.WithAuthority(c.Authority))
	}
	if len(c.Header) > 0 || c.Timeout > 0 {
		pairs := make([]string, 0, 2*len(c.Header))
		for _, h := range c.Header {
			pairs = append(pairs, h[0], h[1])
		}
		with := func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, pairs...)
		}
		opts = append(opts,
			grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
				if c.Timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.Timeout)
					defer cancel()
				}
				return call(with(ctx), method, req, reply, cc, o...)
			}),
			grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, s grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
				return s(with(ctx), d, cc, method, o...)
			}))
	}
	return grpc.NewClient("passthrough:///"+c.Cluster, opts...)
}

// post sends to a collector by HTTP.
func (r *runtime) post(c config.Collector, contentType string) *export.Post {
	p := &export.Post{
		URL: c.URL, ContentType: contentType, Timeout: c.Timeout, Header: c.Header,
		Dial: func(ctx context.Context) (net.Conn, error) { return r.dialCluster(ctx, c.Cluster) },
	}
	if p.Timeout == 0 {
		p.Timeout = callTimeout
	}
	p.Open()
	return p
}

func postProto(ctx context.Context, p *export.Post, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return p.Send(ctx, b)
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
	return h.Cluster().Connect(ctx, h)
}

// ejectionLog opens the log of outlier detection, nil: there is none.
func (r *runtime) ejectionLog() (*health.Log, error) {
	if r.boot.EjectionLog == "" {
		return nil, nil
	}
	l, err := r.checks.Open(r.boot.EjectionLog)
	if err != nil {
		return nil, fmt.Errorf("cluster_manager.outlier_detection.event_log_path: %w", err)
	}
	return l, nil
}
