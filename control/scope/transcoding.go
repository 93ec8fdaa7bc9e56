package scope

import "github.com/weftmesh/weft/control/model"

// Transcoded is what requests of HTTP become for a port.
type Transcoded struct {
	*model.Transcoding
	// Set and Services are what is known of gRPC; Set nil: nothing yet.
	Set      []byte
	Services []string
}

// Transcoding is the one of a service's port; nil: there is none. It may be compared.
func (x *Index) Transcoding(s *model.Service, p *model.ServicePort) *Transcoded {
	for _, t := range x.transcodings() {
		if t.Of(s, p) {
			return t
		}
	}
	return nil
}

// Transcodes tells whether there is any of Thrift, and any of gRPC of which descriptors are known.
func (x *Index) Transcodes() (thrift, grpc bool) {
	for _, t := range x.transcodings() {
		thrift = thrift || t.Thrift != nil
		grpc = grpc || t.Set != nil
	}
	return thrift, grpc
}

func (x *Index) transcodings() []*Transcoded {
	if len(x.Snapshot.Transcodings) == 0 {
		return nil
	}
	type key struct{}
	return x.Lasting(key{}, func() any {
		fetched := map[model.Key]*model.Descriptors{}
		for _, d := range x.Snapshot.Descriptors {
			fetched[d.Key] = d
		}
		var out []*Transcoded
		for _, t := range x.Snapshot.Transcodings {
			one := &Transcoded{Transcoding: t}
			if g := t.GRPC; g != nil {
				one.Set, one.Services = g.Set, g.Services
				if d := fetched[t.Descriptors()]; g.Set == nil && d != nil {
					if one.Set = d.Set; len(one.Services) == 0 {
						one.Services = d.Services
					}
				}
			}
			out = append(out, one)
		}
		return out
	}).([]*Transcoded)
}
