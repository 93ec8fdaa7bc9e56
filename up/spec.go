package up

import (
	"cmp"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/wire"
)

// spec turns what the control plane holds into what should run here.
func spec(l console.Local, engine string) host.Spec {
	var s host.Spec
	for _, p := range l.Processes {
		out := processSpec(p, engine)
		out.Proxy = proxySettings(l, out.Namespace, out.Labels, p.Proxy, false)
		s.Processes = append(s.Processes, out)
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

// proxySettings are how the proxies of a workload are run.
func proxySettings(l console.Local, namespace string, labels map[string]string, own *model.ProxySettings, gateway bool) host.ProxySettings {
	mesh := l.Mesh
	if mesh == nil {
		mesh = model.DefaultMesh()
	}
	s := model.ProxySettingsOf(mesh, l.ProxyConfigs, namespace, labels, own)
	out := host.ProxySettings{Env: s.Env, Metadata: s.Metadata(), Runtime: s.Runtime}
	if s.Drain != nil {
		out.Drain = *s.Drain
	}
	if k := s.Stats; k != nil {
		out.Stats = wire.KeptStats{Prefixes: k.Prefixes, Suffixes: k.Suffixes, Regexps: k.Regexps}
	}
	out.Patches = bootstrapPatches(l.Bootstraps, &model.Beginner{
		Namespace: namespace, Root: mesh.RootNamespace, Labels: labels, Metadata: begins(out.Metadata, namespace), Gateway: gateway,
	})
	if s.Concurrency != nil {
		out.Concurrency = *s.Concurrency
		if out.Concurrency == 0 {
			out.Concurrency = int32(runtime.NumCPU()) //nolint:gosec // few
		}
	}
	return out
}

// bootstrapPatches are those of the proxies of a workload.
func bootstrapPatches(all []model.BootstrapPatch, b *model.Beginner) (out [][]byte) {
	for i := range all {
		p := &all[i]
		if !p.For(b) {
			continue
		}
		if ok, err := regexp.MatchString(p.ProxyVersion, wire.IstioVersion); err != nil || !ok {
			continue
		}
		out = append(out, p.Value)
	}
	return out
}

// begins are the entries of the nodes of a workload's proxies that patches may ask for:
// those of its settings, and its namespace.
func begins(settings map[string]string, namespace string) map[string]string {
	out := maps.Clone(settings)
	if out == nil {
		out = map[string]string{}
	}
	out["NAMESPACE"] = namespace
	return out
}

// workingDir is relative to the folder of the file that holds the object.
func workingDir(p *model.Process) string {
	if filepath.IsAbs(p.WorkingDir) {
		return p.WorkingDir
	}
	return filepath.Join(p.Dir, p.WorkingDir)
}

// gateways are those that no process is.
func gateways(l console.Local, engine string) []host.Gateway {
	var out []host.Gateway
	for _, g := range model.ImpliedGateways(l.Gateways, func(selector map[string]string) bool {
		return slices.ContainsFunc(l.Processes, func(p *model.Process) bool { return model.Matches(selector, p.Labels) })
	}) {
		gw := host.Gateway{Name: g.Name, Namespace: g.Namespace, Labels: g.Labels, ServiceAccount: g.ServiceAccount, Replicas: 1, Engine: engine}
		gw.Proxy = proxySettings(l, g.Namespace, g.Labels, nil, true)
		for _, p := range g.Ports {
			gw.HostPorts = append(gw.HostPorts, host.HostPort{Port: p.Port, Scheme: scheme(p.Protocol)})
		}
		out = append(out, gw)
	}
	return out
}

func scheme(p model.Protocol) string {
	switch {
	case p.IsTLS():
		return "https"
	case p.IsHTTP():
		return "http"
	case p == model.UDP:
		return host.SchemeUDP
	}
	return "tcp"
}

func serviceSpec(s *model.Service) host.Service {
	out := host.Service{Name: s.Name, Namespace: s.Namespace, Selector: s.Selector, Instance: s.Instance, Addresses: []netip.Addr{}}
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
