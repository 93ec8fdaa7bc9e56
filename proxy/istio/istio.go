// Package istio makes a proxy a member of a mesh that istiod controls, in the
// place of pilot-agent and the Envoy beside it: it reads the same environment
// (PROXY_CONFIG, ISTIO_META_…, POD_NAME, CA_ADDR …) and the same files (tokens,
// root certificate, labels), and says from them who the proxy is, where istiod
// is, and where its certificate comes from.
//
// It reads once, when the proxy starts; a token is read again for each call,
// since Kubernetes replaces it. It starts nothing and connects to nothing. Of
// pilot-agent's variables those that are about Wasm, STS and Google's metadata server
// are not read.
package istio

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/proxy/health"
	"github.com/weftmesh/weft/wire"
)

// Paths of pilot-agent, below its working directory, which is the root in a pod.
const (
	tokenPath  = "var/run/secrets/tokens/istio-token"
	rootPath   = "var/run/secrets/istio/root-cert.pem"
	labelsPath = "etc/istio/pod/labels"
	notesPath  = "etc/istio/pod/annotations"
	// Where a certificate is when somebody else brings it, the first that is there
	// counts; the third is used when FILE_MOUNTED_CERTS says so.
	spiffePath  = "var/run/secrets/workload-spiffe-credentials"
	mountedPath = "etc/certs"
	// socketPath is where another agent serves secrets.
	socketPath = "var/run/secrets/workload-spiffe-uds"
)

// Agent is what was read.
type Agent struct {
	// Node is the proxy's id, and Service its cluster.
	Node     wire.NodeID
	Service  string
	Metadata map[string]any
	Locality wire.Locality
	// AdminPort and StatusPort are ports of the proxy on this machine.
	AdminPort, StatusPort uint16
	// XDS is istiod, CA the certificate authority.
	XDS, CA Endpoint
	// Identity is where the proxy's certificate is, when the authority is not asked.
	Identity Identity
	// SPIFFE is the name to ask the authority for, TTL for how long.
	SPIFFE string
	TTL    time.Duration
	// Output is a folder where certificates that the authority gives are written to as well; "":
	// nowhere (OUTPUT_CERTS).
	Output string
	// Probe is how the program is asked whether it is well (readinessProbe); nil: it is
	// not.
	Probe *health.Probe
	// App asks programs in the kubelet's place; nil: nobody has written what.
	App *health.App
	// Metrics are the URLs of the programs' own metrics.
	Metrics []string
	// Drain is how long connections may go on when the proxy is to end; 0: it is not said.
	Drain time.Duration
}

// Endpoint is a server of the control plane.
type Endpoint struct {
	// Address is host:port.
	Address string
	// Plain: without TLS.
	Plain bool
	// Roots is a file of PEM certificates, "": those of the system. ServerName is
	// what the server's certificate is for.
	Roots, ServerName string
	// Chain and Key are files of a certificate to show; "": none.
	Chain, Key string
	// Token is a file; "": none. Header goes with every call, lower-case names.
	Token  string
	Header map[string]string
}

// Identity is a certificate that others bring; the zero value: nobody does.
type Identity struct {
	// Chain, Key and Roots are files, which may change.
	Chain, Key, Roots string
	// Socket is where an SDS server is.
	Socket string
}

// proxyConfig is the part of Istio's ProxyConfig that is read here.
type proxyConfig struct {
	DiscoveryAddress       string            `json:"discoveryAddress"`
	ServiceCluster         string            `json:"serviceCluster"`
	ProxyAdminPort         uint16            `json:"proxyAdminPort"`
	StatusPort             uint16            `json:"statusPort"`
	ControlPlaneAuthPolicy string            `json:"controlPlaneAuthPolicy"`
	ProxyMetadata          map[string]string `json:"proxyMetadata"`
	CACertificatesPEM      []string          `json:"caCertificatesPem"`
	ReadinessProbe         json.RawMessage   `json:"readinessProbe"`
	TerminationDrain       string            `json:"terminationDrainDuration"`
}

// Registers tells whether the proxy's workload becomes known by its connection to the control
// plane (ISTIO_META_AUTO_REGISTER_GROUP).
func (a *Agent) Registers() bool {
	group, _ := a.Metadata["AUTO_REGISTER_GROUP"].(string)
	return group != ""
}

// reader is where it is read from.
type reader struct {
	dir string
	env map[string]string
}

// Load reads the environment (as os.Environ has it) and the files below dir, the
// working directory when it is "". kind is what the proxy is.
func Load(kind wire.NodeType, dir string, environ []string) (*Agent, error) {
	r := reader{dir: cmp.Or(dir, "."), env: map[string]string{}}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			r.env[k] = v
		}
	}
	c, raw, err := r.proxyConfig()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		AdminPort: cmp.Or(c.ProxyAdminPort, wire.PortAdmin), StatusPort: cmp.Or(c.StatusPort, wire.PortMerged),
		TTL: 24 * time.Hour,
	}
	if a.Node, err = r.node(kind); err != nil {
		return nil, err
	}
	if len(c.ReadinessProbe) > 0 && string(c.ReadinessProbe) != "null" {
		if a.Probe, err = health.Read(c.ReadinessProbe); err != nil {
			return nil, fmt.Errorf("PROXY_CONFIG: readinessProbe: %w", err)
		}
	}
	if err := r.pod(a, c); err != nil {
		return nil, err
	}
	a.Service = cmp.Or(c.ServiceCluster, "istio-proxy")
	if a.Metadata, err = r.metadata(a, raw, c); err != nil {
		return nil, err
	}
	if v := r.env["SECRET_TTL"]; v != "" {
		if a.TTL, err = time.ParseDuration(v); err != nil {
			return nil, fmt.Errorf("SECRET_TTL: %w", err)
		}
	}
	a.SPIFFE = "spiffe://" + cmp.Or(r.env["TRUST_DOMAIN"], "cluster.local") + "/ns/" + a.Node.Namespace + "/sa/" + cmp.Or(r.env["SERVICE_ACCOUNT"], "default")
	a.Identity = r.identity()
	a.Output = r.env["OUTPUT_CERTS"]
	a.XDS, a.CA, err = r.endpoints(c)
	return a, err
}

// proxyConfig reads PROXY_CONFIG, JSON or YAML, as pilot-agent gets it.
func (r *reader) proxyConfig() (c proxyConfig, raw map[string]any, err error) {
	text := cmp.Or(r.env["PROXY_CONFIG"], "{}")
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		return c, nil, fmt.Errorf("PROXY_CONFIG: %w", err)
	}
	err = yaml.Unmarshal([]byte(text), &raw)
	if c.DiscoveryAddress == "" {
		c.DiscoveryAddress = "istiod.istio-system.svc:15012"
	}
	if raw == nil {
		raw = map[string]any{}
	}
	for k, v := range map[string]any{
		"discoveryAddress": c.DiscoveryAddress, "proxyAdminPort": cmp.Or(c.ProxyAdminPort, wire.PortAdmin), "statusPort": cmp.Or(c.StatusPort, wire.PortMerged),
	} {
		raw[k] = v
	}
	return c, raw, err
}

// node makes the proxy's id.
func (r *reader) node(kind wire.NodeType) (wire.NodeID, error) {
	n := wire.NodeID{Type: kind, IP: r.env["INSTANCE_IP"], Name: r.env["POD_NAME"], Namespace: r.env["POD_NAMESPACE"]}
	if n.IP == "" {
		ips := addresses()
		if len(ips) == 0 {
			return n, errors.New("INSTANCE_IP: is empty, and this machine has no address")
		}
		n.IP = ips[0]
	}
	if _, err := netip.ParseAddr(n.IP); err != nil {
		return n, fmt.Errorf("INSTANCE_IP: %w", err)
	}
	if n.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return n, fmt.Errorf("POD_NAME: is empty: %w", err)
		}
		n.Name = host
	}
	n.Namespace = cmp.Or(n.Namespace, "default")
	n.Domain = cmp.Or(r.env["DNS_DOMAIN"], n.Namespace+".svc.cluster.local")
	return n, nil
}

// addresses are this machine's, loopback left out.
func addresses() (out []string) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range list {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p.Addr().String())
		}
	}
	return out
}

// metadata makes what istiod reads of the proxy.
func (r *reader) metadata(a *Agent, config map[string]any, c proxyConfig) (map[string]any, error) {
	m := map[string]any{}
	for k, v := range c.ProxyMetadata {
		if name, ok := strings.CutPrefix(k, "ISTIO_META_"); ok {
			m[name] = v
		}
	}
	labels := map[string]any{}
	for k, v := range r.env {
		if name, ok := strings.CutPrefix(k, "ISTIO_META_"); ok {
			m[name] = v
		}
		name, ok := strings.CutPrefix(k, "ISTIO_METAJSON_")
		if !ok || v == "" {
			continue
		}
		var values map[string]any
		if err := json.Unmarshal([]byte(v), &values); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		into := m
		if name == "LABELS" {
			into = labels
		}
		for k, v := range values {
			into[k] = v
		}
	}
	for _, p := range readFields(r.path(labelsPath)) {
		if p[0] != "pod-template-hash" {
			labels[p[0]] = p[1]
		}
	}
	if notes := readFields(r.path(notesPath)); len(notes) > 0 {
		annotations := map[string]any{}
		for _, p := range notes {
			annotations[p[0]] = p[1]
		}
		m["ANNOTATIONS"] = annotations
	}
	m["LABELS"] = labels
	m["NAME"], m["NAMESPACE"], m["INSTANCE_IPS"] = a.Node.Name, a.Node.Namespace, a.Node.IP
	m["SERVICE_ACCOUNT"] = cmp.Or(r.env["SERVICE_ACCOUNT"], "default")
	m["PROXY_CONFIG"] = config
	for name, port := range map[string]uint16{"ENVOY_STATUS_PORT": wire.PortHealth, "ENVOY_PROMETHEUS_PORT": wire.PortPrometheus} {
		m[name] = port
		if v := r.env[name]; v != "" {
			n, err := strconv.ParseUint(v, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			m[name] = n
		}
	}
	if m["ISTIO_VERSION"] == nil {
		m["ISTIO_VERSION"] = istioVersion
	}
	if l, _ := labels["topology.istio.io/locality"].(string); l != "" {
		parts := append(strings.SplitN(l, ".", 3), "", "")
		a.Locality = wire.Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
	}
	return m, nil
}

// istioVersion is that of Istio whose proxy this one can stand for; istiod writes
// configuration by it.
const istioVersion = "1.31.0"

func (r *reader) path(p string) string { return filepath.Join(r.dir, p) }

// readFields reads a file of the downward API: lines of key="value".
func readFields(path string) (out [][2]string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil // there is none outside of Kubernetes
	}
	for line := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if text, err := strconv.Unquote(v); err == nil {
			v = text
		}
		out = append(out, [2]string{k, v})
	}
	return out
}
