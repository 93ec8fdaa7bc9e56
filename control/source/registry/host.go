package registry

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/control/model"
)

// usualPort is the port of services of which nobody says one.
const usualPort = 80

// host is a service of the mesh in the making.
type host struct {
	parts []*part
	// ports are those of instances that the service has had: they stay while it is there, so that listeners do not come and go with
	// instances.
	ports map[uint16]model.Protocol
	made  *model.Service
}

// make makes the service of the parts that count; nil when there are none.
func (h *host) make(at hostKey) {
	parts := h.counting()
	if len(parts) == 0 {
		h.made, h.ports = nil, nil
		return
	}
	s := &model.Service{
		Meta: model.Meta{
			Key:    model.Key{Kind: model.KindServiceEntry, Namespace: at.space, Name: at.host},
			Origin: model.Origin{Source: Name, File: names(parts)}, Labels: labels(parts),
		},
		Host: at.host, Namespace: at.space, Name: at.host, FromEntry: true, Resolution: model.ByWorkloads,
		Exports: model.Visibility{Public: true, Default: true}, Registry: names(parts),
	}
	list := instances(parts)
	h.setPorts(s, parts[0], list)
	for _, in := range list {
		e := model.Endpoint{
			Address: in.Address, Port: in.Port, Labels: in.Labels, Locality: in.Locality, Healthy: true, Ports: map[string]uint16{},
			Weight: cmp.Or(in.Weight, UsualWeight),
		}
		for _, p := range s.Ports {
			if p.Protocol == in.Protocol {
				e.Ports[p.Name] = in.Port
			}
		}
		s.Inline = append(s.Inline, e)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		panic("BUG: a service of a registry: " + err.Error())
	}
	s.Hash = xxhash.Sum64(raw)
	if h.made == nil || h.made.Hash != s.Hash {
		h.made = s
	}
}

// counting are the parts of the best priority: among those that are live, else among the others.
func (h *host) counting() []*part {
	slices.SortFunc(h.parts, func(a, b *part) int {
		x, y := a.of.spec, b.of.spec
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), strings.Compare(x.Key.String(), y.Key.String()), strings.Compare(a.from.Name, b.from.Name))
	})
	for _, live := range []bool{true, false} {
		var out []*part
		for _, p := range h.parts {
			if len(p.list) > 0 && p.live() == live && (len(out) == 0 || out[0].of.spec.Priority == p.of.spec.Priority) {
				out = append(out, p)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// names are the registries of parts.
func names(parts []*part) string {
	var out []string
	for _, p := range parts {
		if n := p.of.spec.Key.Namespace + "/" + p.of.spec.Key.Name; !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return strings.Join(out, ",")
}

func labels(parts []*part) map[string]string {
	out := map[string]string{}
	for _, p := range slices.Backward(parts) {
		maps.Copy(out, p.of.spec.Labels)
	}
	// What requests name: see the routes of registered services.
	if d := parts[0].from.Dubbo; d != nil {
		out["interface"] = d.Interface
		if !parts[0].of.spec.MergeVersions {
			out["group"], out["version"] = d.Group, d.Version
		}
	}
	return out
}

// instances are those of the parts, each address and port once, the first part's.
func instances(parts []*part) []Instance {
	type place struct {
		address string
		port    uint16
	}
	seen := map[place]bool{}
	var out []Instance
	for _, p := range parts {
		for _, in := range p.list {
			if at := (place{in.Address, in.Port}); !seen[at] {
				seen[at] = true
				out = append(out, in)
			}
		}
	}
	slices.SortFunc(out, func(a, b Instance) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port))
	})
	return out
}

// setPorts decides the ports: the one that the registry is to have, and those of instances. Every instance
// serves all that are of its protocol.
func (h *host) setPorts(s *model.Service, first *part, list []Instance) {
	port, own := first.of.spec.Port, first.of.spec.InstancePorts
	switch {
	case port != 0:
	case first.from.Dubbo != nil:
		own = true
	default:
		port = usualPort
	}
	add := func(n uint16, p model.Protocol) {
		if s.Port(n) == nil {
			s.Ports = append(s.Ports, model.ServicePort{Name: portName(p) + "-" + strconv.Itoa(int(n)), Port: n, Protocol: p})
		}
	}
	if port != 0 {
		add(port, list[0].Protocol)
	}
	if h.ports == nil {
		h.ports = map[uint16]model.Protocol{}
	}
	for _, in := range list {
		if own {
			if _, known := h.ports[in.Port]; !known {
				h.ports[in.Port] = in.Protocol
			}
		} else if !slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return p.Protocol == in.Protocol }) {
			add(in.Port, in.Protocol) // another protocol needs a port of its own
		}
	}
	if own {
		for _, n := range slices.Sorted(maps.Keys(h.ports)) {
			add(n, h.ports[n])
		}
	}
}

func portName(p model.Protocol) string {
	if p == model.Unknown {
		return "auto"
	}
	return strings.ToLower(string(p))
}
