package weft

import (
	"slices"
	"strings"
	"time"

	api "github.com/weftmesh/weft/api/weft/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/wire"
)

// reserved tells whether the sidecar listens on a port of the program's namespace.
func reserved(port int32) bool {
	return slices.Contains([]int32{
		wire.PortAdmin, wire.PortOutbound, wire.PortInbound, wire.PortMerged, wire.PortHealth, wire.PortRelay,
		wire.PortDNS, wire.PortPrometheus,
	}, port)
}

// probe converts a readiness probe; nil when there is none.
func probe(d *document.Document, at string, p *api.Probe, ports []model.ProcessPort) *model.Probe {
	if p == nil {
		return nil
	}
	out := &model.Probe{
		InitialDelay: seconds(p.InitialDelaySeconds, 0), Period: seconds(p.PeriodSeconds, 1), Timeout: seconds(p.TimeoutSeconds, 1),
		Success: max(1, int(p.SuccessThreshold)), Failure: int(p.FailureThreshold),
	}
	if out.Failure == 0 {
		out.Failure = 3
	}
	var set []string
	if p.HTTPGet != nil {
		set = append(set, "httpGet")
		httpProbe(d, at+".httpGet", p.HTTPGet, ports, out)
	}
	if p.TCPSocket != nil {
		set = append(set, "tcpSocket")
		out.TCP, out.Port = true, portOf(d, at+".tcpSocket.port", p.TCPSocket.Port, ports)
	}
	if p.GRPC != nil {
		set = append(set, "grpc")
		out.GRPC, out.GRPCService, out.Port = true, p.GRPC.Service, uint16(p.GRPC.Port)
		if p.GRPC.Port == 0 {
			d.Error(document.CodeMissing, at+".grpc.port", "write a port", "is missing")
		}
	}
	if p.Exec != nil {
		set = append(set, "exec")
		if out.Exec = p.Exec.Command; len(out.Exec) == 0 {
			d.Error(document.CodeMissing, at+".exec.command", "write a command", "is missing")
		}
	}
	switch {
	case len(set) == 0:
		d.Error(document.CodeMissing, at, "add httpGet, tcpSocket, grpc or exec", "says nothing about how to probe")
	case len(set) > 1:
		d.Invalid(at, "keep one", "only one of httpGet, tcpSocket, grpc, exec may be set, got %s", strings.Join(set, " and "))
	}
	return out
}

func seconds(n, byDefault int32) time.Duration {
	if n == 0 {
		n = byDefault
	}
	return time.Duration(n) * time.Second
}

func httpProbe(d *document.Document, at string, p *api.HTTPGet, ports []model.ProcessPort, out *model.Probe) {
	out.HTTPPath, out.Port = p.Path, portOf(d, at+".port", p.Port, ports)
	if out.HTTPPath == "" {
		out.HTTPPath = "/"
	}
	if !strings.HasPrefix(out.HTTPPath, "/") {
		d.Invalid(at+".path", "write /"+p.Path, "%q does not begin with \"/\"", p.Path)
	}
	if p.Scheme != "" && p.Scheme != "HTTP" {
		d.Unsupported(at+".scheme", "use HTTP, or tcpSocket", "%s is not carried out by Weft", p.Scheme)
	}
	for i, h := range p.HTTPHeaders {
		if h.Name == "" {
			d.Error(document.CodeMissing, document.At(at+".httpHeaders", i)+".name", "name the header", "is missing")
		}
		if out.HTTPHeaders == nil {
			out.HTTPHeaders = map[string]string{}
		}
		out.HTTPHeaders[h.Name] = h.Value
	}
}

// portOf reads a port's number, or finds it by name.
func portOf(d *document.Document, at string, v any, ports []model.ProcessPort) uint16 {
	switch t := v.(type) {
	case float64: // encoding/json's number; the range was checked
		return uint16(t)
	case string:
		var names []string
		for _, p := range ports {
			if p.Name == t {
				return p.Port
			}
			names = append(names, p.Name)
		}
		d.Invalid(at, document.Suggest(t, names), "spec.ports has no port named %q", t)
	default:
		d.Error(document.CodeMissing, at, "write a port", "is missing")
	}
	return 0
}
