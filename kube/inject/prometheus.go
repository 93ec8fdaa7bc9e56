package inject

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/wire"
)

// scrapeEnv tells the agent where the programs' own metrics are, which it adds to the
// proxy's.
const scrapeEnv = "ISTIO_PROMETHEUS_ANNOTATIONS"

// Annotations of Prometheus, as it compares them: with every other sign an underscore.
const (
	notePath    = "prometheus_io_path"
	notePort    = "prometheus_io_port"
	noteScrape  = "prometheus_io_scrape"
	noteTargets = "prometheus_istio_io_scrape_targets"
	noteSecure  = "prometheus_istio_io_secure_port"
)

// sanitized is a name as Prometheus compares it.
func sanitized(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_':
			return r
		}
		return '_'
	}, name)
}

// metricsNote is an annotation, however it is spelt.
func metricsNote(pod *corev1.Pod, name string) (string, bool) {
	for k, v := range pod.Annotations {
		if sanitized(k) == name {
			return v, true
		}
	}
	return "", false
}

func clearMetricsNotes(pod *corev1.Pod) {
	for k := range pod.Annotations {
		switch sanitized(k) {
		case notePath, notePort, noteScrape, noteTargets:
			delete(pod.Annotations, k)
		}
	}
}

// scrape is what the agent is told.
type scrape struct {
	Scrape  string   `json:"scrape"`
	Path    string   `json:"path"`
	Port    string   `json:"port"`
	Targets []target `json:"targets,omitempty"`
}

type target struct {
	Port string `json:"port"`
	Path string `json:"path,omitempty"`
}

// agentPort is where the agent answers in any case.
func (w *work) agentPort() int {
	if p := w.config.GetStatusPort(); p != 0 {
		return int(p)
	}
	if p := w.port(); p != 0 {
		return p
	}
	return wire.PortMerged
}

// mergeMetrics leads Prometheus to the agent, and the agent to the programs.
func (w *work) mergeMetrics(pod *corev1.Pod) error {
	merging := w.mesh.GetEnablePrometheusMerge() == nil || w.mesh.GetEnablePrometheusMerge().GetValue()
	if v, err := strconv.ParseBool(pod.Annotations[annotation.PrometheusMergeMetrics.Name]); err == nil {
		merging = v
	}
	if v, ok := metricsNote(pod, noteScrape); ok {
		if on, err := strconv.ParseBool(v); err == nil && !on {
			merging = false
		}
	}
	defer w.noteSecurePort(pod)
	if !merging {
		return nil
	}
	agent := strconv.Itoa(w.agentPort())
	if p, ok := metricsNote(pod, notePort); ok && p == agent {
		return nil // somebody has led it there already
	}
	c := scrape{}
	c.Scrape, _ = metricsNote(pod, noteScrape)
	c.Path, _ = metricsNote(pod, notePath)
	c.Port, _ = metricsNote(pod, notePort)
	if text, ok := metricsNote(pod, noteTargets); ok {
		list, err := parseTargets(text)
		if err != nil {
			return fmt.Errorf("annotation %s: %w", scrapeTargetsKey, err)
		}
		c.Targets = list
		c.Port, c.Path = list[0].Port, list[0].Path
	}
	if err := c.check(agent); err != nil {
		return err
	}
	if proxy := proxyOf(pod); proxy != nil && (c.Scrape != "" || c.Path != "" || c.Port != "") {
		text, err := json.Marshal(c)
		if err != nil {
			return err
		}
		proxy.Env = setEnv(proxy.Env, map[string]string{scrapeEnv: string(text)})
	}
	clearMetricsNotes(pod)
	pod.Annotations["prometheus.io/port"] = agent
	pod.Annotations["prometheus.io/path"] = "/stats/prometheus"
	pod.Annotations["prometheus.io/scrape"] = "true"
	return nil
}

// parseTargets reads "PORT:PATH,PORT"; without a path it is /metrics.
func parseTargets(text string) (out []target, err error) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		port, path, _ := strings.Cut(part, ":")
		t := target{Port: strings.TrimSpace(port), Path: or(strings.TrimSpace(path), "/metrics")}
		if t.Port == "" {
			return nil, fmt.Errorf("%q: want PORT:PATH, separated by commas", part)
		}
		out = append(out, t)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%q: want PORT:PATH, separated by commas", text)
	}
	return out, nil
}

// check refuses ports at which there are no metrics of a program's.
func (c *scrape) check(agent string) error {
	list := c.Targets
	if len(list) == 0 && c.Port != "" {
		list = []target{{Port: c.Port}}
	}
	for _, t := range list {
		n, err := strconv.ParseUint(t.Port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("annotation prometheus.io/port: %q is no port: write the number at which the program has its metrics", t.Port)
		}
		if t.Port == agent || (n >= wire.PortAdmin && n <= wire.PortPrometheus && reserved[int(n)]) {
			return fmt.Errorf("annotation prometheus.io/port: %s is the proxy's own: write the number at which the program has its metrics", t.Port)
		}
	}
	return nil
}

// reserved are ports of the proxy.
var reserved = map[int]bool{
	wire.PortAdmin: true, wire.PortOutbound: true, 15002: true, 15004: true, wire.PortInbound: true, 15008: true, wire.PortMerged: true, wire.PortHealth: true,
	wire.PortDNS: true, wire.PortPrometheus: true,
}

// noteSecurePort tells Prometheus of the agent's port with TLS, where the proxy has one.
func (w *work) noteSecurePort(pod *corev1.Pod) {
	proxy := proxyOf(pod)
	if _, ok := metricsNote(pod, noteSecure); ok || proxy == nil {
		return
	}
	for _, e := range proxy.Env {
		if e.Name == "ENVOY_SECURE_MERGED_METRICS_PORT" && e.Value != "" && e.Value != "0" {
			pod.Annotations[securePortKey] = e.Value
		}
	}
}
