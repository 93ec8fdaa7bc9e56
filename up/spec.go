package up

import (
	"cmp"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/process"
)

// gatewayNamespace is where gateways that no Process provides are put, and
// their service account, as Istio's default installation has it.
const gatewayNamespace = "istio-system"

// spec turns what the control plane holds into what should run here.
func spec(l console.Local, engine string) host.Spec {
	var s host.Spec
	for _, p := range l.Processes {
		s.Processes = append(s.Processes, processSpec(p, engine))
	}
	s.Gateways = gateways(l, engine)
	for _, svc := range l.Services {
		if !svc.FromEntry {
			s.Services = append(s.Services, serviceSpec(svc))
		}
	}
	return s
}

func processSpec(p *model.Process, engine string) host.Process {
	out := host.Process{
		Name: p.Key.Name, Namespace: p.Key.Namespace, Labels: p.Labels, Annotations: p.Annotations,
		Command: p.Command, Dir: workingDir(p), ServiceAccount: cmp.Or(p.ServiceAccount, "default"),
		Replicas: p.Replicas, Engine: cmp.Or(p.Engine, engine),
	}
	for _, e := range p.Env {
		out.Env = append(out.Env, e.Name+"="+e.Value)
	}
	for _, port := range p.Ports {
		out.Ports = append(out.Ports, host.Port{Name: port.Name, Port: port.Port})
	}
	if r := p.Readiness; r != nil {
		out.Readiness = &process.Probe{
			HTTPPath: r.HTTPPath, HTTPHeaders: r.HTTPHeaders, TCP: r.TCP, GRPC: r.GRPC, GRPCService: r.GRPCService,
			Exec: r.Exec, Port: r.Port, InitialDelay: r.InitialDelay, Period: r.Period, Timeout: r.Timeout,
			Success: r.Success, Failure: r.Failure,
		}
	}
	return out
}

// workingDir is relative to the folder of the file that holds the object.
func workingDir(p *model.Process) string {
	if filepath.IsAbs(p.WorkingDir) {
		return p.WorkingDir
	}
	return filepath.Join(p.Dir, p.WorkingDir)
}

// gateways makes one gateway for each selector that no process matches: what a
// mesh's installation would have brought along.
func gateways(l console.Local, engine string) []host.Gateway {
	byName := map[string]*host.Gateway{}
	for _, g := range l.Gateways {
		if len(g.Selector) == 0 || slices.ContainsFunc(l.Processes, func(p *model.Process) bool { return model.Matches(g.Selector, p.Labels) }) {
			continue
		}
		name := gatewayName(g.Selector)
		gw := byName[name]
		if gw == nil {
			labels := maps.Clone(g.Selector)
			if labels["app"] == "" {
				labels["app"] = name
			}
			gw = &host.Gateway{
				Name: name, Namespace: gatewayNamespace, Labels: labels, ServiceAccount: name + "-service-account", Replicas: 1, Engine: engine,
			}
			byName[name] = gw
		}
		for _, srv := range g.Servers {
			addPort(gw, srv)
		}
	}
	out := make([]host.Gateway, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, *byName[name])
	}
	return out
}

func addPort(gw *host.Gateway, srv model.Server) {
	p := host.HostPort{Port: srv.Port, Scheme: scheme(srv.Protocol)}
	if !slices.ContainsFunc(gw.HostPorts, func(x host.HostPort) bool { return x.Port == p.Port }) {
		gw.HostPorts = append(gw.HostPorts, p)
	}
}

func scheme(p model.Protocol) string {
	switch {
	case p.IsTLS():
		return "https"
	case p.IsHTTP():
		return "http"
	}
	return "tcp"
}

// gatewayName is "istio-ingressgateway" for Istio's usual selector, else made
// of the labels.
func gatewayName(selector map[string]string) string {
	if v := selector["istio"]; v != "" {
		return "istio-" + v
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(selector)) {
		parts = append(parts, selector[k])
	}
	return strings.ToLower(strings.Join(parts, "-"))
}

func serviceSpec(s *model.Service) host.Service {
	out := host.Service{Name: s.Name, Namespace: s.Namespace, Selector: s.Selector, Addresses: []netip.Addr{}}
	for _, v := range s.VIPs {
		if v.IsSingleIP() {
			out.Addresses = append(out.Addresses, v.Addr())
		}
	}
	for _, p := range s.Ports {
		port := host.ServicePort{
			Name: p.Name, Port: p.Port, UDP: p.Protocol == model.UDP, Target: p.TargetPort, TargetName: p.TargetName,
		}
		if s.Exposure != model.InMesh && !port.UDP {
			port.HostPort = host.HostPort{Port: p.Port, Scheme: scheme(p.Protocol)}
			if s.Exposure == model.OnNodePort && p.NodePort != 0 {
				port.HostPort.Port = p.NodePort
			}
		}
		out.Ports = append(out.Ports, port)
	}
	return out
}
