package peermetadata

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/peer"
)

const typeURL = "type.googleapis.com/io.istio.http.peer_metadata.Config"

// Kind describes the filter of a proxy with that node id and metadata.
func Kind(id string, metadata *structpb.Struct, skips Skips) filter.HTTPKind {
	return filter.HTTPKind{
		Name: Name, TypeURLs: []string{typeURL},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			s, err := peer.OpenStruct(a, typeURL)
			if err != nil {
				return nil, err
			}
			return parse(s, id, metadata, skips)
		},
	}
}

func parse(s *structpb.Struct, id string, metadata *structpb.Struct, skips Skips) (*factory, error) {
	f := &factory{skips: skips}
	var additional []string
	for _, name := range slices.Sorted(maps.Keys(s.GetFields())) {
		v := s.Fields[name]
		var err error
		switch name {
		case "downstream_discovery":
			f.from, err = methods(v)
		case "upstream_discovery":
			f.fromUp, err = methods(v)
		case "downstream_propagation":
			f.to, err = propagations(v)
		case "upstream_propagation":
			f.toUp, err = propagations(v)
		case "additional_labels":
			additional, err = peer.Strings(v)
		default:
			err = errors.New("not supported")
		}
		if err != nil {
			return nil, fmt.Errorf("value.%s: %w", name, err)
		}
	}
	f.cache = &peer.Cache{Additional: additional}
	f.local = peer.NewLocal(id, metadata, additional)
	return f, nil
}

// methods reads ways of discovery.
func methods(v *structpb.Value) (out []method, err error) {
	err = each(v, func(name string, of *structpb.Struct) error {
		m, ok := map[string]method{"istio_headers": headers, "baggage": baggage, "workload_discovery": workloads}[name]
		if !ok {
			return errors.New("not supported")
		}
		out = append(out, m)
		for _, field := range slices.Sorted(maps.Keys(of.GetFields())) {
			// It is about what is sent: here it changes nothing.
			if m != headers || field != "skip_external_clusters" {
				return fmt.Errorf("%s: not supported", field)
			}
		}
		return nil
	})
	return out, err
}

// propagations reads ways to tell.
func propagations(v *structpb.Value) (out []propagation, err error) {
	err = each(v, func(name string, of *structpb.Struct) error {
		p := propagation{}
		switch name {
		case "istio_headers":
		case "baggage":
			p.method = baggage
		default:
			return errors.New("not supported")
		}
		for _, field := range slices.Sorted(maps.Keys(of.GetFields())) {
			if p.method != headers || field != "skip_external_clusters" {
				return fmt.Errorf("%s: not supported", field)
			}
			p.external = of.Fields[field].GetBoolValue()
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// each visits a list of structs with one field each: the method and its settings.
func each(v *structpb.Value, visit func(name string, of *structpb.Struct) error) error {
	for i, item := range v.GetListValue().GetValues() {
		fields := item.GetStructValue().GetFields()
		if len(fields) != 1 {
			return fmt.Errorf("[%d]: has %d methods, want one", i, len(fields))
		}
		for name, of := range fields {
			if err := visit(name, of.GetStructValue()); err != nil {
				return fmt.Errorf("[%d].%s: %w", i, name, err)
			}
		}
	}
	return nil
}
