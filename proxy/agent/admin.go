package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weftmesh/weft/proxy/admin"
	"github.com/weftmesh/weft/proxy/dns"
	"github.com/weftmesh/weft/proxy/telemetry"
)

// askBound is how long Envoy may take to answer the agent.
const askBound = 5 * time.Second

// admin is the agent's API: Istio's metrics and Envoy's together, and Envoy's
// own answers to the rest.
func (a *agent) admin() *admin.Server {
	r := prometheus.NewRegistry()
	r.MustRegister(a.metrics, telemetry.Processes{PIDs: a.Envoy.pids}, dns.Metrics{Resolver: a.resolver})
	o := admin.Options{
		API:    []string{net.JoinHostPort("127.0.0.1", port(a.Ports.Admin))},
		Merged: everywhere(a.Ports.Merged), Health: everywhere(a.Ports.Health), Prometheus: everywhere(a.Ports.Prometheus),
		Metrics: r, Level: a.Level, Log: a.Log,
		Ready:      a.ready,
		ServerInfo: func() any { return map[string]string{"version": a.Version, "state": "LIVE", "engine": "none"} },
	}
	if a.Envoy != nil {
		e := &envoyAdmin{client: a.Envoy.client()}
		o.Metrics = prometheus.Gatherers{r, e}
		o.Ready = e.ready
		o.ServerInfo = func() any { return e.json("/server_info") }
		o.Certs = func() any { return e.json("/certs") }
		o.ConfigDump = func(q admin.DumpQuery) ([]byte, error) {
			return e.get("/config_dump" + q.String())
		}
		o.Clusters = func(w io.Writer, asJSON bool) error { return e.copy(w, "/clusters", asJSON) }
		o.Drain = func() { _, _ = e.do(http.MethodPost, "/drain_listeners?graceful") }
	}
	return admin.New(o)
}

// ready tells whether programs may start, where there is no engine.
func (a *agent) ready() (ok bool, why string) {
	if a.grpc != nil {
		select {
		case <-a.grpc.Ready():
		default:
			return false, "there is no certificate yet"
		}
	}
	if a.Istio != nil {
		return true, ""
	}
	select {
	case <-a.names.Ready():
		return true, ""
	default:
		return false, "nothing has come from the control plane yet"
	}
}

func (e *Envoy) client() *http.Client {
	return &http.Client{Timeout: askBound, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", e.adminSocket())
		},
	}}
}

// envoyAdmin asks Envoy's admin API.
type envoyAdmin struct{ client *http.Client }

func (e *envoyAdmin) do(method, path string) ([]byte, error) {
	// The client bounds the time; callers of the admin API have no context.
	req, err := http.NewRequest(method, "http://envoy"+path, nil) //nolint:noctx // see above
	if err != nil {
		return nil, err
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("Envoy does not answer: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("Envoy says %s to %s: %s", resp.Status, path, b)
	}
	return b, err
}

func (e *envoyAdmin) get(path string) ([]byte, error) { return e.do(http.MethodGet, path) }

func (e *envoyAdmin) json(path string) any {
	b, err := e.get(path)
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	return json.RawMessage(b)
}

func (e *envoyAdmin) copy(w io.Writer, path string, asJSON bool) error {
	if asJSON {
		path += "?format=json"
	}
	b, err := e.get(path)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

func (e *envoyAdmin) ready() (bool, string) {
	if _, err := e.get("/ready"); err != nil {
		return false, err.Error()
	}
	return true, ""
}

// Gather implements prometheus.Gatherer with Envoy's own metrics.
func (e *envoyAdmin) Gather() ([]*dto.MetricFamily, error) {
	raw, err := e.get("/stats?format=prometheus&usedonly")
	if err != nil {
		return nil, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(raw))
	out := make([]*dto.MetricFamily, 0, len(families))
	for _, f := range families {
		out = append(out, f)
	}
	return out, err
}
