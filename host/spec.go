package host

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/wire"
)

// Spec is everything that should run.
type Spec struct {
	Processes []Process
	Gateways  []Gateway
	// Services get host ports, and virtual addresses for what no sidecar
	// carries (UDP, and workloads without one).
	Services []Service
}

// Engines.
const (
	EngineGo    = "go"
	EngineEnvoy = "envoy"
	EngineNone  = "none"
)

// Process is a program to run in the mesh.
type Process struct {
	Name, Namespace     string
	Labels, Annotations map[string]string
	Command             []string
	// Env are settings "NAME=value" on top of the supervisor's environment.
	Env []string
	// Dir is the absolute path of the working directory.
	Dir            string
	ServiceAccount string
	Replicas       int
	Ports          []Port
	Readiness      *process.Probe
	Engine         string
	Proxy          ProxySettings
}

// ProxySettings are how a proxy is run.
type ProxySettings struct {
	// Concurrency is how many processors it uses; 0: as many as it likes.
	Concurrency int32 `json:",omitempty"`
	// Env are its environment variables, Metadata entries of its node's metadata.
	Env, Metadata map[string]string `json:",omitempty"`
	// Drain is how long connections may go on that are to end; 0: the engine's own.
	Drain time.Duration `json:",omitempty"`
	// Stats are statistics to keep beside those that Weft reads, Runtime values of the
	// engine's runtime.
	Stats   wire.KeptStats    `json:",omitzero"`
	Runtime map[string]string `json:",omitempty"`
	// Patches are merged into the bootstrap: Envoy's messages in their binary form.
	Patches [][]byte `json:",omitempty"`
}

// Port is a port that a program listens on.
type Port struct {
	Name string
	Port uint16
}

// Gateway is a proxy without a program.
type Gateway struct {
	Name, Namespace     string
	Labels, Annotations map[string]string
	ServiceAccount      string
	Replicas            int
	Engine              string
	Proxy               ProxySettings
	// Ports by name, for services that target a named port.
	Ports []Port
	// HostPorts are wanted on the host. A Go proxy asks for such sockets itself
	// (hand socket); for an Envoy, and for datagrams, the supervisor listens and relays
	// to the same port of the gateway.
	HostPorts []HostPort
}

// SchemeUDP is the scheme of a port for datagrams.
const SchemeUDP = "udp"

// HostPort is a port wanted on the host's loopback.
type HostPort struct {
	Port uint16
	// Scheme is for the URL: "http", "https", "tcp" or SchemeUDP.
	Scheme string
}

// Service is the part of a service that the host serves.
type Service struct {
	Name, Namespace string
	Addresses       []netip.Addr
	Ports           []ServicePort
	Selector        map[string]string
	// Instance, when set, is the only workload of those that Selector picks.
	Instance string
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name string
	Port uint16
	UDP  bool
	// Target is the workloads' port, or TargetName its name; neither: Port.
	Target     uint16
	TargetName string
	// HostPort is wanted on the host; zero Port: none.
	HostPort HostPort
}

// hostPorts are the ports of the host that the spec itself asks for.
func (s *Spec) hostPorts() map[uint16]bool {
	out := map[uint16]bool{}
	for _, svc := range s.Services {
		for _, p := range svc.Ports {
			out[p.HostPort.Port] = true
		}
	}
	for _, g := range s.Gateways {
		for _, p := range g.HostPorts {
			out[p.Port] = true
		}
	}
	return out
}

// want is one replica that should run. Equal wants are the same replica.
type want struct {
	Name, App, Namespace string
	Kind                 Kind
	Labels, Annotations  map[string]string
	ServiceAccount       string
	Engine               string
	Proxy                ProxySettings
	Ports                []Port
	Process              *Process `json:",omitempty"` // nil for a gateway
	Replicas             int      // of the process; matters in capture mode proxy
}

// Kind of a workload.
type Kind string

// Kinds of workloads.
const (
	KindProcess Kind = "process"
	KindGateway Kind = "gateway"
)

func (w *want) key() string { return w.Namespace + "/" + w.Name }

// fingerprint tells two wants apart. Only plain data is in it.
func (w *want) fingerprint() string {
	raw, err := json.Marshal(w)
	if err != nil {
		panic("BUG: host: " + err.Error())
	}
	return string(raw)
}

// frame is the fingerprint of all that is not only how the proxy is run.
func (w *want) frame() string {
	c := *w
	c.Proxy = ProxySettings{}
	if c.Process != nil {
		p := *c.Process
		p.Proxy, c.Process = ProxySettings{}, &p
	}
	return c.fingerprint()
}

// wants lists all replicas of a spec, by key, and the keys of each process in order.
func (s *Spec) wants() (all map[string]*want, groups [][]string, err error) {
	all = map[string]*want{}
	add := func(group []string, w *want) ([]string, error) {
		if all[w.key()] != nil {
			return group, fmt.Errorf("two workloads are called %s: rename one of the processes or gateways", w.key())
		}
		all[w.key()] = w
		return append(group, w.key()), nil
	}
	for i := range s.Processes {
		p := &s.Processes[i]
		var group []string
		for n := range p.Replicas {
			group, err = add(group, &want{
				Name: fmt.Sprintf("%s-%d", p.Name, n), App: p.Name, Namespace: p.Namespace, Kind: KindProcess,
				Labels: p.Labels, Annotations: p.Annotations, ServiceAccount: p.ServiceAccount, Engine: p.Engine, Proxy: p.Proxy,
				Ports: p.Ports, Process: p, Replicas: p.Replicas,
			})
			if err != nil {
				return nil, nil, err
			}
		}
		groups = append(groups, group)
	}
	for i := range s.Gateways {
		g := &s.Gateways[i]
		var group []string
		for n := range max(1, g.Replicas) {
			group, err = add(group, &want{
				Name: fmt.Sprintf("%s-%d", g.Name, n), App: g.Name, Namespace: g.Namespace, Kind: KindGateway,
				Labels: g.Labels, Annotations: g.Annotations, ServiceAccount: g.ServiceAccount, Engine: g.Engine, Proxy: g.Proxy, Ports: g.Ports,
			})
			if err != nil {
				return nil, nil, err
			}
		}
		groups = append(groups, group)
	}
	return all, groups, nil
}
