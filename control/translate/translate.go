package translate

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/control/translate/listener"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// Resource is one xDS resource, marshalled.
type Resource struct {
	Name string
	// Version is a hash of the content, in hex.
	Version string
	Body    *anypb.Any
}

// Resources is everything that one proxy gets.
type Resources struct {
	// ByType has the resources of each type URL (wire.TypeListener …), sorted by name.
	ByType map[string][]Resource
}

// Of returns the resources of one type, sorted by name.
func (r *Resources) Of(typeURL string) []Resource { return r.ByType[typeURL] }

// Get returns one resource by name.
func (r *Resources) Get(typeURL, name string) (Resource, bool) {
	list := r.ByType[typeURL]
	i, ok := slices.BinarySearchFunc(list, name, func(x Resource, n string) int { return cmp.Compare(x.Name, n) })
	if !ok {
		return Resource{}, false
	}
	return list[i], true
}

// Translate makes everything that the proxy of the view gets.
func Translate(v *scope.View) (*Resources, []model.Finding) {
	f := findings{seen: map[string]bool{}}
	for _, x := range v.Findings {
		f.add(x)
	}
	out := &Resources{ByType: map[string][]Resource{}}
	wanted := map[string]bool{} // Secrets "namespace/name"
	for _, s := range v.Services {
		p := outbound(v, s)
		out.ByType[wire.TypeCluster] = append(out.ByType[wire.TypeCluster], p.clusters...)
		out.ByType[wire.TypeEndpoint] = append(out.ByType[wire.TypeEndpoint], p.endpoints...)
		for _, name := range p.secrets {
			wanted[name] = true
		}
		for _, x := range p.findings {
			f.add(x)
		}
	}
	routes := route.NewBuilder(v, f.add)
	clusters := cluster.NewBuilder(v, f.add)
	l := listener.Build(v, f.add, routes, clusters)
	for _, m := range l.Listeners {
		out.add(wire.TypeListener, m.Name, m)
	}
	for _, m := range l.Routes {
		out.add(wire.TypeRoute, m.Name, m)
	}
	for _, list := range [][]*clusterv3.Cluster{clusters.Fixed(), l.Clusters} {
		for _, m := range list {
			out.add(wire.TypeCluster, m.Name, m)
		}
	}
	for name := range l.Secrets {
		wanted[name] = true
	}
	for _, name := range pb.Keys(wanted) {
		for _, m := range secrets(v, name) {
			out.add(wire.TypeSecret, m.Name, m)
		}
	}
	for url, list := range out.ByType {
		slices.SortStableFunc(list, func(a, b Resource) int { return cmp.Compare(a.Name, b.Name) })
		// A proxy refuses the whole answer when a name comes twice.
		out.ByType[url] = slices.CompactFunc(list, func(a, b Resource) bool { return a.Name == b.Name })
	}
	if list := hosts(v); len(list) > 0 {
		out.ByType[wire.TypeHost] = list
	}
	if list := workloads(v.Index); len(list) > 0 {
		out.ByType[wire.TypeWorkload] = list
	}
	return out, f.list
}

// part is what one service contributes to a proxy.
type part struct {
	clusters, endpoints []Resource
	secrets             []string
	findings            []model.Finding
}

// outbound makes the clusters and endpoints of a service: once for all proxies
// that get the same, since these are most of what a mesh sends.
func outbound(v *scope.View, s *model.Service) *part {
	class, ok := cluster.NewBuilder(v, nil).Class(s)
	if !ok {
		return makePart(v, s)
	}
	return v.Index.Memo(class, func() any { return makePart(v, s) }).(*part)
}

func makePart(v *scope.View, s *model.Service) *part {
	p := &part{}
	b := cluster.NewBuilder(v, func(x model.Finding) { p.findings = append(p.findings, x) })
	for _, m := range b.Service(s) {
		p.clusters = append(p.clusters, pack(m.Name, wire.TypeCluster, m))
	}
	for _, m := range b.Endpoints() {
		p.endpoints = append(p.endpoints, pack(m.ClusterName, wire.TypeEndpoint, m))
	}
	p.secrets = b.Secrets()
	return p
}

// findings collects each Finding once: several chains may stumble over one fault.
type findings struct {
	seen map[string]bool
	list []model.Finding
}

func (f *findings) add(x model.Finding) {
	key := x.Code + x.String()
	if !f.seen[key] {
		f.seen[key] = true
		f.list = append(f.list, x)
	}
}

func (r *Resources) add(typeURL, name string, m proto.Message) {
	r.ByType[typeURL] = append(r.ByType[typeURL], pack(name, typeURL, m))
}

// secrets makes the resources of the Secret "namespace/name", if the proxy may
// have it: it has to be of its own namespace.
func secrets(v *scope.View, name string) []*tlsv3.Secret {
	s := v.Index.Secret(name)
	if s == nil || s.Key.Namespace != v.Proxy.Namespace() {
		return nil
	}
	inline := func(b model.PrivateBytes) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	var out []*tlsv3.Secret
	if len(s.Cert) > 0 {
		out = append(out, &tlsv3.Secret{
			Name: tlsctx.SecretName(name),
			Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: inline(s.Cert), PrivateKey: inline(s.PrivateKey),
			}},
		})
	}
	if pem, crl := v.ClientCA(name); len(pem) > 0 {
		ca := &tlsv3.CertificateValidationContext{TrustedCa: inline(pem)}
		if len(crl) > 0 {
			ca.Crl = inline(crl)
		}
		out = append(out, &tlsv3.Secret{
			Name: tlsctx.SecretName(name) + tlsctx.CASuffix,
			Type: &tlsv3.Secret_ValidationContext{ValidationContext: ca},
		})
	}
	return out
}

// pack marshals a message into a resource. Marshalling is deterministic within
// one binary, which is all that versions need: they are compared by the control
// plane that made them, and a new binary only sends once more.
func pack(name, typeURL string, m proto.Message) Resource {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: translate: " + name + ": " + err.Error())
	}
	return Resource{
		Name:    name,
		Version: strconv.FormatUint(xxhash.Sum64(raw), 16),
		Body:    &anypb.Any{TypeUrl: typeURL, Value: raw},
	}
}
