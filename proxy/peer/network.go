package peer

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
)

// NetworkName is that of the network filter, in Istio's words, and typeExchange
// its configuration's type.
const (
	NetworkName  = "istio.metadata_exchange"
	typeExchange = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange"
)

// Exchanger is the network filter istio.metadata_exchange of listeners, and of
// clusters: it does not look at a connection's bytes, only what goes before.
type Exchanger struct {
	local      *Local
	protocol   string
	additional []string
}

// NetworkKind describes the filter of listeners for a proxy with that node id
// and metadata.
func NetworkKind(id string, metadata *structpb.Struct) filter.NetworkKind {
	return filter.NetworkKind{
		Name: NetworkName, TypeURLs: []string{typeExchange},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
			x, err := ParseExchanger(a, id, metadata)
			if err != nil {
				return nil, err
			}
			return downstream{x}, nil
		},
	}
}

// ParseExchanger reads the filter's configuration.
func ParseExchanger(a *anypb.Any, id string, metadata *structpb.Struct) (*Exchanger, error) {
	s, err := OpenStruct(a, typeExchange)
	if err != nil {
		return nil, err
	}
	x := &Exchanger{protocol: Protocol}
	for _, name := range slices.Sorted(maps.Keys(s.GetFields())) {
		v := s.Fields[name]
		switch name {
		case "protocol":
			x.protocol = v.GetStringValue()
		case "enable_discovery": // by address, which metrics do where nobody has said who they are
		case "additional_labels":
			if x.additional, err = Strings(v); err != nil {
				return nil, fmt.Errorf("value.%s: %w", name, err)
			}
		default:
			return nil, fmt.Errorf("value.%s: not supported", name)
		}
	}
	if x.protocol == "" {
		return nil, fmt.Errorf("value.protocol: is empty, want %s", Protocol)
	}
	x.local = NewLocal(id, metadata, x.additional)
	return x, nil
}

// Greets tells whether a connection with that protocol begins with an exchange.
func (x *Exchanger) Greets(protocol string) bool { return protocol == x.protocol }

// Greet is the exchange of a client's side.
func (x *Exchanger) Greet(nc net.Conn, deadline time.Time) (*filter.Peer, error) {
	return x.local.Exchange(nc, deadline, x.additional)
}

// downstream is the filter of a server's side.
type downstream struct{ *Exchanger }

// New implements filter.NetworkFactory.
func (d downstream) New() filter.NetworkFilter { return d }

// Greet implements filter.Greeter.
func (d downstream) Greet(nc net.Conn, deadline time.Time, info *filter.ConnInfo) (err error) {
	info.Peer, err = d.local.Exchange(nc, deadline, d.additional)
	return err
}

// Open continues.
func (downstream) Open(stream.Conn, *filter.ConnInfo) filter.Verdict { return filter.Continue }

// Closed does nothing.
func (downstream) Closed(*filter.ConnInfo) {}
