package istio

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/health"
)

// scrape is where a program's metrics are, as an injector found it in the pod's annotations.
type scrape struct {
	Scrape, Path, Port string
	Targets            []struct{ Port, Path string }
}

// defaultDrain is Istio's.
const defaultDrain = 5 * time.Second

// pod reads what an injector has found out about the programs beside the proxy.
func (r *reader) pod(a *Agent, c proxyConfig) (err error) {
	if text := r.env["ISTIO_KUBE_APP_PROBERS"]; text != "" {
		host := a.Node.IP
		if r.env["REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION"] == "true" {
			host = "127.0.0.1"
		}
		if a.App, err = health.ReadApp(text, host); err != nil {
			return fmt.Errorf("ISTIO_KUBE_APP_PROBERS: %w", err)
		}
	}
	if text := r.env["ISTIO_PROMETHEUS_ANNOTATIONS"]; text != "" {
		var s scrape
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return fmt.Errorf("ISTIO_PROMETHEUS_ANNOTATIONS: %w", err)
		}
		a.Metrics = s.urls()
	}
	a.Drain = defaultDrain
	if c.TerminationDrain != "" {
		if a.Drain, err = time.ParseDuration(c.TerminationDrain); err != nil {
			return fmt.Errorf("PROXY_CONFIG: terminationDrainDuration: %w", err)
		}
	}
	return nil
}

func (s scrape) urls() (out []string) {
	if s.Scrape != "" && s.Scrape != "true" {
		return nil
	}
	at := func(port, path string) {
		out = append(out, "http://"+net.JoinHostPort("localhost", port)+"/"+strings.TrimPrefix(cmp.Or(path, "/metrics"), "/"))
	}
	for _, t := range s.Targets {
		at(t.Port, t.Path)
	}
	if len(out) == 0 {
		at(cmp.Or(s.Port, "80"), s.Path)
	}
	return out
}

// Names tells whether the proxy answers questions about names: its control plane tells
// them, as Weft's does to its own proxies, and port 53 is redirected.
func (a *Agent) Names() bool {
	return a.Metadata["DNS_CAPTURE"] == "true" && a.Metadata["WEFT_ENGINE"] != nil
}
