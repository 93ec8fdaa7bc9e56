// Package route translates route sets (VirtualServices) into Envoy route
// configurations: for sidecars one per HTTP port, for gateways one per server
// port, with Istio's names of virtual hosts and its default timeouts and retries.
//
// It makes no clusters and no listeners; it only names clusters.
package route

import (
	"strconv"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/limit"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// MeshGateway is the gateway name that stands for all sidecars.
const MeshGateway = "mesh"

// Report takes a Finding.
type Report func(model.Finding)

// Builder makes the route configurations of one view.
type Builder struct {
	v      *scope.View
	report Report
	tables map[int]*hostTable // by index into View.Listeners
	limits *limit.Set
	// places, when set, notes where routes come from.
	places map[*routev3.Route]Place
}

// Place is where a route is written: a rule of a route set, and which of the rule's
// matches, -1: it has none.
type Place struct {
	Set         *model.RouteSet
	Rule, Match int
}

// Trace makes the builder note the places of the routes that it makes from here on.
func (b *Builder) Trace() map[*routev3.Route]Place {
	b.places = map[*routev3.Route]Place{}
	return b.places
}

func (b *Builder) note(r *routev3.Route, p Place) {
	if b.places != nil {
		b.places[r] = p
	}
}

// NewBuilder returns a builder for a view.
func NewBuilder(v *scope.View, report Report) *Builder {
	return &Builder{v: v, report: report, tables: map[int]*hostTable{}, limits: limit.Outbound(v, report)}
}

// Follow goes on with a view that differs from the builder's in instances only, which
// no route depends on.
func (b *Builder) Follow(v *scope.View) { b.v = v }

// counted tells whether servers are told which attempt a request is.
func (b *Builder) counted() bool {
	return b.v.Requests.Headers == nil || !b.v.Requests.Headers.NoAttemptCount
}

// told tells whether servers are told the host that was asked for, where it is replaced.
func (b *Builder) told() bool {
	return b.v.Requests.Headers != nil && b.v.Requests.Headers.ForwardedHost
}

// site is where routes are made for: one gateway's (or the mesh's) port.
type site struct {
	*Builder
	gateway string
	port    uint16
	// tls: clients of this port speak TLS (redirects say https then).
	tls bool
	// messages: clients of this port speak a protocol of messages.
	messages bool
}

// routes translates the HTTP routes of a set, as far as they are for this site.
func (s *site) routes(set *model.RouteSet) []*routev3.Route {
	var out []*routev3.Route
	for i := range set.HTTP {
		r := &set.HTTP[i]
		if len(r.Matches) == 0 {
			if s.applies(set, &model.Match{}) {
				if e := s.route(set, r, nil, i); e != nil {
					s.note(e, Place{set, i, -1})
					return append(out, e)
				}
			}
			continue
		}
		for j := range r.Matches {
			m := &r.Matches[j]
			if !s.applies(set, m) {
				continue
			}
			e := s.route(set, r, m, i)
			if e == nil {
				break
			}
			s.note(e, Place{set, i, j})
			out = append(out, e)
			if catchAll(e) {
				return out // whatever follows is unreachable
			}
		}
	}
	return out
}

// route translates one rule under one of its matches.
func (s *site) route(set *model.RouteSet, r *model.Route, m *model.Match, index int) *routev3.Route {
	out := &routev3.Route{
		Name:  r.Name,
		Match: match(m),
		Metadata: pb.IstioMetadata(map[string]*structpb.Value{
			"config": pb.Config("virtual-service", set.Key.Namespace, set.Key.Name),
		}),
	}
	if m != nil && m.Name != "" {
		if out.Name != "" {
			out.Name += "."
		}
		out.Name += m.Name
	}
	if m != nil {
		out.StatPrefix = m.StatPrefix
	}
	setHeaders(out, r.Headers)
	switch {
	case r.Redirect != nil:
		out.Action = s.redirect(r.Redirect)
	case r.Direct != nil:
		out.Action = direct(r.Direct)
	case len(r.Destinations) > 0:
		s.forward(out, r)
	default:
		s.report(model.Finding{
			Code: CodeNoAction, Severity: model.Error, Object: set.Written(), Origin: set.Origin,
			Field:   "spec.http[" + strconv.Itoa(index) + "]",
			Message: "the route leads nowhere", Remedy: "give it a route, a redirect or a directResponse",
		})
		return nil
	}
	if out.Decorator == nil {
		// Where there is no single destination, the object's name stands for it.
		out.Decorator = decorator(out, set.Key.Name, s.port)
	}
	s.filters(out, r)
	s.convert(out, set, index)
	return out
}

// cluster names where a destination's requests go.
func (s *site) cluster(d *model.Destination) string {
	if d.Invalid {
		return wire.InvalidCluster
	}
	port := d.Port
	if port == 0 {
		port = s.port
		if svc := s.v.Service(d.Host); svc != nil && len(svc.Ports) == 1 {
			port = svc.Ports[0].Port
		}
	}
	return wire.ClusterName(wire.Outbound, port, d.Subset, d.Host)
}
