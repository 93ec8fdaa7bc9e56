package patch

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// Cluster patches one cluster; nil: it is removed. hosts are those of the services
// that an inbound cluster serves.
func (s *Set) Cluster(context model.PatchContext, c *clusterv3.Cluster, hosts []string) (*clusterv3.Cluster, Result) {
	if !s.Touches(context, model.ToCluster) {
		return c, Result{}
	}
	return apply(&run{set: s, context: context, hosts: hosts}, c, (*run).cluster)
}

// AddedClusters are those that patches add. Where a patch names no context, these are
// for the way out and gateways.
func (s *Set) AddedClusters(context model.PatchContext) (out []*clusterv3.Cluster, touched []model.PatchRef) {
	for _, p := range s.added(model.ToCluster, context) {
		out = append(out, proto.Clone(p.value).(*clusterv3.Cluster))
		touched = append(touched, p.ref)
	}
	return out, touched
}

// Extensions are the configurations of filters that patches add, for filters that ask
// for them by name (config_discovery).
func (s *Set) Extensions() (out []*corev3.TypedExtensionConfig, touched []model.PatchRef) {
	if s == nil {
		return nil, nil
	}
	for _, p := range s.by[model.ToExtension] {
		if p.Operation == model.PatchAdd {
			out = append(out, proto.Clone(p.value).(*corev3.TypedExtensionConfig))
			touched = append(touched, p.ref)
		}
	}
	return out, touched
}

func (r *run) cluster(c *clusterv3.Cluster) *clusterv3.Cluster {
	for _, p := range r.patches(model.ToCluster) {
		if !p.matchesCluster(c, r.hosts) {
			continue
		}
		switch {
		case p.Operation == model.PatchRemove:
			r.touch(p)
			return nil
		case p.merges():
			r.mergeCluster(p, c)
		}
	}
	return c
}

// mergeCluster merges a patch. One with a transport socket changes only that, as in
// Istio: that of the same name, also among those that are chosen by endpoint.
func (r *run) mergeCluster(p *patch, c *clusterv3.Cluster) {
	from := p.value.(*clusterv3.Cluster).GetTransportSocket()
	if from == nil {
		r.touch(p)
		merge(c, p.value, p.Operation == model.PatchMergeReplace)
		return
	}
	to := c.GetTransportSocket()
	if list := c.GetTransportSocketMatches(); len(list) > 0 {
		to = nil
		for _, m := range list {
			if m.GetTransportSocket().GetName() == from.GetName() {
				to = m.GetTransportSocket()
				break
			}
		}
		if to == nil {
			return // the two together would be refused
		}
	}
	if to.GetName() != from.GetName() {
		r.touch(p)
		c.TransportSocket = proto.Clone(from).(*corev3.TransportSocket)
		return
	}
	r.mergeSocket(p, to, from)
}
