package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire/weftpb"
)

// messageProxy makes a connection manager for a protocol that is not HTTP.
func (d *Decoder) messageProxy(a *anypb.Any, cc *chainContext) (filter.Terminal, error) {
	m := &weftpb.MessageProxy{}
	if err := open(a, m); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(d.Protocols, func(p *codec.Protocol) bool { return p.Name == m.Protocol })
	if i < 0 {
		return nil, at(fmt.Errorf("%q is not known: want one of %s", m.Protocol, d.protocolNames()), "protocol")
	}
	if m.Manager == nil {
		return nil, at(errors.New("is empty: want an http_connection_manager, whose routes and filters apply"), "manager")
	}
	t, err := d.manager(m.Manager, cc, d.Protocols[i])
	return t, at(err, "manager")
}

func (d *Decoder) protocolNames() string {
	names := make([]string, 0, len(d.Protocols))
	for _, p := range d.Protocols {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
