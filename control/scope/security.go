package scope

import (
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// ServerMTLS is what the PeerAuthentications together demand of one workload.
type ServerMTLS struct {
	Mode  model.MTLSMode // never MTLSUnset
	Ports map[uint16]model.MTLSMode
}

// For returns the mode of a workload port.
func (s ServerMTLS) For(port uint16) model.MTLSMode {
	if m := s.Ports[port]; m != model.MTLSUnset {
		return m
	}
	return s.Mode
}

type mtlsKey struct{ w *model.Workload }

// MTLS returns what a workload's server side demands: mesh, then namespace, then
// workload, then port, the narrower one winning where it is set.
func (x *Index) MTLS(w *model.Workload) ServerMTLS {
	return x.Memo(mtlsKey{w}, func() any { return x.mtlsOf(w.Namespace, w.Labels) }).(ServerMTLS)
}

func (x *Index) mtlsOf(namespace string, labels map[string]string) ServerMTLS {
	out := ServerMTLS{Mode: model.MTLSPermissive}
	if m := x.wideMode(x.Mesh.RootNamespace); m != model.MTLSUnset {
		out.Mode = m
	}
	if m := x.wideMode(namespace); m != model.MTLSUnset {
		out.Mode = m
	}
	for _, p := range x.peerAuths[namespace] {
		if len(p.Selector) == 0 || !model.Matches(p.Selector, labels) {
			continue
		}
		if p.Mode != model.MTLSUnset {
			out.Mode = p.Mode
		}
		out.Ports = p.Ports
		break // the oldest one decides
	}
	return out
}

// wideMode is the mode of a namespace's (or the mesh's) own policy.
func (x *Index) wideMode(namespace string) model.MTLSMode {
	for _, p := range x.peerAuths[namespace] {
		if len(p.Selector) == 0 {
			return p.Mode
		}
	}
	return model.MTLSUnset
}

// MTLS returns what the proxy's own server side demands.
func (v *View) MTLS() ServerMTLS {
	if w := v.Proxy.Workload; w != nil {
		return v.Index.MTLS(w)
	}
	return v.Index.mtlsOf(v.Proxy.Namespace(), v.Proxy.Labels())
}

// Authz returns the authorization policies that hold for the proxy's workload,
// the root namespace's first.
func (v *View) Authz() []*model.Authz {
	return attached(v, v.Index.authz, func(p *model.Authz) (map[string]string, []model.TargetRef) { return p.Selector, p.Targets })
}

// RequestAuths returns the request authentications that hold for the proxy's
// workload, the root namespace's first: all of them together.
func (v *View) RequestAuths() []*model.RequestAuth {
	return attached(v, v.Index.requests, func(p *model.RequestAuth) (map[string]string, []model.TargetRef) { return p.Selector, p.Targets })
}

// attached picks the policies of the root namespace and the proxy's own.
func attached[P any](v *View, all map[string][]P, of func(P) (map[string]string, []model.TargetRef)) []P {
	var out []P
	own := v.Proxy.Namespace()
	add := func(namespace string) {
		for _, p := range all[namespace] {
			selector, targets := of(p)
			if model.AppliesTo(selector, targets, v.Proxy.Labels(), namespace == own) {
				out = append(out, p)
			}
		}
	}
	add(v.Mesh.RootNamespace)
	if own != v.Mesh.RootNamespace {
		add(own)
	}
	return out
}

// Keys returns the keys that were fetched from a source, if any were yet.
func (x *Index) Keys(s model.KeySource) (jwks string, ok bool) {
	k, ok := x.keySets[s.Key()]
	if !ok {
		return "", false
	}
	return k.JWKS, true
}

// AllMTLS tells whether every instance of a service speaks mTLS on the port, so
// that a client that cannot choose per endpoint may use it. No instance: no.
func (x *Index) AllMTLS(s *model.Service, port *model.ServicePort) bool {
	list := x.Instances(s)
	for _, in := range list {
		if !x.SpeaksMTLS(in, s, port) {
			return false
		}
	}
	return len(list) > 0
}

// SpeaksMTLS tells whether one instance takes mTLS on a service port.
func (x *Index) SpeaksMTLS(in model.Instance, s *model.Service, port *model.ServicePort) bool {
	if in.Workload == nil {
		if mode, said := in.Endpoint.Labels[wire.TLSModeLabel]; said {
			return mode == wire.TLSModeIstio
		}
		return in.Endpoint.ServiceAccount != "" // that of a sidecar's certificate
	}
	if in.Workload.Gateway {
		// Its listeners are what Gateways say, and Istio's gateways have no such label.
		return in.Workload.Labels[wire.TLSModeLabel] == wire.TLSModeIstio
	}
	if !in.Workload.Mesh {
		return false
	}
	target, ok := TargetPort(in, s, port)
	return ok && x.MTLS(in.Workload).For(target) != model.MTLSDisable
}

// PlainMTLS tells whether one instance takes mTLS from a client that does not say, by
// Istio's application protocols, that it is one of the mesh: where nothing but mTLS is
// taken, so that nothing has to be told apart.
func (x *Index) PlainMTLS(in model.Instance, s *model.Service, port *model.ServicePort) bool {
	if !x.SpeaksMTLS(in, s, port) {
		return false
	}
	target, ok := TargetPort(in, s, port)
	if !ok {
		return false
	}
	if in.Workload == nil {
		return x.mtlsOf(s.Namespace, in.Endpoint.Labels).For(target) == model.MTLSStrict
	}
	return in.Workload.Engine == EngineNone || x.MTLS(in.Workload).For(target) == model.MTLSStrict
}
