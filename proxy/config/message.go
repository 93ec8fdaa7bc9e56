package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/declared"
	modulecodec "github.com/weftmesh/weft/proxy/codec/module"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire/protocol"
	"github.com/weftmesh/weft/wire/weftpb"
)

// messageProxy makes a connection manager for a protocol that is not HTTP.
func (d *Decoder) messageProxy(a *anypb.Any, cc *chainContext) (filter.Terminal, error) {
	m := &weftpb.MessageProxy{}
	if err := open(a, m); err != nil {
		return nil, err
	}
	p, err := d.protocol(m)
	if err != nil {
		return nil, err
	}
	if m.Manager == nil {
		return nil, at(errors.New("is empty: want an http_connection_manager, whose routes and filters apply"), "manager")
	}
	t, err := d.manager(m.Manager, cc, p)
	return t, at(err, "manager")
}

// protocol finds the codec that a filter names, or makes the one that it declares.
func (d *Decoder) protocol(m *weftpb.MessageProxy) (*codec.Protocol, error) {
	i := slices.IndexFunc(d.Protocols, func(p *codec.Protocol) bool { return p.Name == m.Protocol })
	switch {
	case len(m.Module) > 0:
		return d.moduleProtocol(m, i >= 0)
	case m.Declared == nil && i < 0:
		return nil, at(fmt.Errorf("%q is not known: want one of %s, or declare it", m.Protocol, d.protocolNames()), "protocol")
	case m.Declared == nil:
		return d.Protocols[i], nil
	case m.Protocol == "" || i >= 0:
		return nil, at(fmt.Errorf("%q cannot be declared: want a name that no codec has", m.Protocol), "protocol")
	}
	raw, err := json.Marshal(m.Declared.AsMap()) // with sorted names: equal ones are equal
	if err != nil {
		return nil, at(err, "declared")
	}
	key := m.Protocol + " " + string(raw)
	if p, ok := d.declared.Load(key); ok {
		return p.(*codec.Protocol), nil // connections to upstreams are shared by all that speak it
	}
	decl := &protocol.Declaration{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(decl); err != nil {
		return nil, at(err, "declared")
	}
	p, err := declared.New(m.Protocol, decl)
	if err != nil {
		return nil, at(err, "declared")
	}
	made, _ := d.declared.LoadOrStore(key, p)
	return made.(*codec.Protocol), nil
}

// module is the codec that a module was made, the newest of its protocol.
type module struct {
	sum      [sha256.Size]byte
	protocol *codec.Protocol
}

// moduleProtocol makes the codec that a filter brings along; taken: the name is another codec's.
func (d *Decoder) moduleProtocol(m *weftpb.MessageProxy, taken bool) (*codec.Protocol, error) {
	if m.Protocol == "" || taken || m.Declared != nil {
		return nil, at(fmt.Errorf("%q cannot be a module's: want a name that no codec has, and no declaration", m.Protocol), "protocol")
	}
	sum := sha256.Sum256(m.Module)
	if last, ok := d.modules.Load(m.Protocol); ok && last.(*module).sum == sum {
		return last.(*module).protocol, nil // connections to upstreams are shared by all that speak it
	}
	p, err := modulecodec.New(d.Life, m.Protocol, m.Module)
	if err != nil {
		return nil, at(err, "module")
	}
	d.modules.Store(m.Protocol, &module{sum, p})
	return p, nil
}

func (d *Decoder) protocolNames() string {
	names := make([]string, 0, len(d.Protocols))
	for _, p := range d.Protocols {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
