package route

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// hashPolicies says what to hash for destinations whose DestinationRule asks
// for consistent hashing: the cluster balances by it, but the route computes it.
func (s *site) hashPolicies(list []model.Destination) []*routev3.RouteAction_HashPolicy {
	var out []*routev3.RouteAction_HashPolicy
	for i := range list {
		_, port, subset, host, ok := wire.SplitClusterName(s.cluster(&list[i]))
		if !ok {
			continue
		}
		h := s.hashPolicy(host, port, subset)
		if h == nil {
			continue
		}
		known := false
		for _, o := range out {
			known = known || proto.Equal(o, h)
		}
		if !known {
			out = append(out, h)
		}
	}
	return out
}

func (s *site) hashPolicy(host string, port uint16, subset string) *routev3.RouteAction_HashPolicy {
	svc := s.v.Service(host)
	if svc == nil {
		return nil
	}
	lb := s.v.Policy(svc).For(port, subset).LB
	if lb == nil || lb.Algorithm != model.ConsistentHash || lb.Hash == nil {
		return nil
	}
	return hash(lb.Hash)
}

func hash(h *model.Hash) *routev3.RouteAction_HashPolicy {
	switch {
	case h.Header != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.Header},
		}}
	case h.Cookie != nil:
		c := &routev3.RouteAction_HashPolicy_Cookie{Name: h.Cookie.Name, Path: h.Cookie.Path}
		if h.Cookie.TTL != nil {
			c.Ttl = pb.Duration(*h.Cookie.TTL)
		}
		for _, a := range h.Cookie.Attributes {
			c.Attributes = append(c.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{Name: a[0], Value: a[1]})
		}
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: c}}
	case h.SourceIP:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}
	case h.Query != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.Query},
		}}
	}
	return nil
}
