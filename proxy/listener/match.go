package listener

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/proxy/filter/choice"
)

// Facts is what is known of a connection when its chain is chosen.
type Facts struct {
	Local, Remote netip.AddrPort
	// Direct is the peer of the socket; Remote may have been restored.
	Direct netip.AddrPort
	SNI    string // lower case
	TLS    bool
	ALPN   []string
	// Objects of filter state that came with the connection.
	Objects map[string]any
	// Metadata that listener filters have left, by namespace.
	Metadata map[string]any
}

// Matcher chooses a chain by name (Envoy's filter_chain_matcher). It takes the place of the
// chains' own criteria.
type Matcher = choice.Tree[*Facts, string]

// IsLocal tells whether a connection comes from the same machine.
func (f *Facts) IsLocal() bool { return isLocal(f) }

// The tree has one level per criterion, in Envoy's order.
type (
	tree     struct{ ports map[uint16]*destNode }
	destNode struct{ dests cidrs[*nameNode] }
	nameNode struct {
		names map[string]*protoNode
		// looks tells what the choice below depends on.
		looks looks
	}
	protoNode  struct{ protos map[string]*alpnNode }
	alpnNode   struct{ alpns map[string]*directNode }
	directNode struct{ sources cidrs[*typeNode] }
	typeNode   struct{ types [3]*sourceNode }
	sourceNode struct{ sources cidrs[*portNode] }
	portNode   struct{ ports map[uint16]*chain }
)

// looks are the inspectors that are worth running.
type looks struct{ tls, http bool }

// cidrs is a list of prefixes, the most specific first; the zero prefix
// contains everything, also what is not IP.
type cidrs[T any] []cidr[T]

type cidr[T any] struct {
	prefix netip.Prefix
	value  T
}

func (c cidrs[T]) find(a netip.Addr) (v T, ok bool) {
	for i := range c {
		if !c[i].prefix.IsValid() || c[i].prefix.Contains(a) {
			return c[i].value, true
		}
	}
	return v, false
}

// at returns the value of prefix p, made when there is none.
func (c *cidrs[T]) at(p netip.Prefix, fresh func() T) T {
	p = p.Masked()
	for i := range *c {
		if (*c)[i].prefix == p {
			return (*c)[i].value
		}
	}
	e := cidr[T]{p, fresh()}
	i := slices.IndexFunc(*c, func(o cidr[T]) bool { return o.prefix.Bits() < p.Bits() })
	if i < 0 {
		i = len(*c)
	}
	*c = slices.Insert(*c, i, e)
	return e.value
}

func at[K comparable, V any](m map[K]*V, k K, fresh func() *V) *V {
	v := m[k]
	if v == nil {
		v = fresh()
		m[k] = v
	}
	return v
}

// orAny is s, or one zero value that stands for "any".
func orAny[T any](s []T) []T {
	if len(s) == 0 {
		return make([]T, 1)
	}
	return s
}

// newTree compiles the chains' criteria. Two chains that want the same
// connections are an error.
func newTree(chains []*chain) (*tree, error) {
	t := &tree{ports: map[uint16]*destNode{}}
	for _, c := range chains {
		if err := t.add(c); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *tree) add(c *chain) error {
	m := &c.FilterChain.Match
	names, err := serverNames(m.ServerNames)
	if err != nil {
		return fmt.Errorf("filter chain %q: %w", c.Name, err)
	}
	if m.SourceType > SourceExternal {
		return fmt.Errorf("filter chain %q: source type %d is unknown", c.Name, m.SourceType)
	}
	port := at(t.ports, m.DestinationPort, func() *destNode { return &destNode{} })
	for _, dest := range orAny(m.DestinationPrefixes) {
		n := port.dests.at(dest, func() *nameNode { return &nameNode{names: map[string]*protoNode{}} })
		n.note(m)
		if c.readsSNI() {
			n.looks.tls = true
		}
		for _, name := range orAny(names) {
			p := at(n.names, name, func() *protoNode { return &protoNode{map[string]*alpnNode{}} })
			a := at(p.protos, m.TransportProtocol, func() *alpnNode { return &alpnNode{map[string]*directNode{}} })
			for _, alpn := range orAny(m.ApplicationProtocols) {
				d := at(a.alpns, alpn, func() *directNode { return &directNode{} })
				if err := d.add(c); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// note records what the choice below n depends on.
func (n *nameNode) note(m *Match) {
	if len(m.ServerNames)+len(m.ApplicationProtocols) > 0 || m.TransportProtocol != "" {
		n.looks.tls = true
	}
	for _, p := range m.ApplicationProtocols {
		if p == ProtoHTTP0 || p == ProtoHTTP1 || p == ProtoH2C {
			n.looks.http = true
		}
	}
}

// add enters the criteria of the source.
func (d *directNode) add(c *chain) error {
	m := &c.FilterChain.Match
	for _, direct := range orAny(m.DirectSourcePrefixes) {
		t := d.sources.at(direct, func() *typeNode { return &typeNode{} })
		if t.types[m.SourceType] == nil {
			t.types[m.SourceType] = &sourceNode{}
		}
		for _, src := range orAny(m.SourcePrefixes) {
			p := t.types[m.SourceType].sources.at(src, func() *portNode { return &portNode{map[uint16]*chain{}} })
			for _, port := range orAny(m.SourcePorts) {
				if other := p.ports[port]; other != nil {
					return fmt.Errorf("filter chains %q and %q match the same connections: make their filter_chain_match differ", other.Name, c.Name)
				}
				p.ports[port] = c
			}
		}
	}
	return nil
}

func serverNames(names []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, n := range names {
		rest, wild := strings.CutPrefix(n, "*.")
		if rest == "" || strings.Contains(rest, "*") {
			return nil, fmt.Errorf("server name %q: want a name or \"*.\" and a suffix", n)
		}
		if wild {
			rest = "." + rest
		}
		out = append(out, strings.ToLower(rest))
	}
	return out, nil
}

// names is the node at which a destination's chains begin to differ by what
// the client says.
func (t *tree) names(dst netip.AddrPort) *nameNode {
	d := t.ports[dst.Port()]
	if d == nil {
		d = t.ports[0]
	}
	if d == nil {
		return nil
	}
	n, _ := d.dests.find(dst.Addr())
	return n
}

// looks tells which inspectors matter for a destination.
func (t *tree) looks(dst netip.AddrPort) looks {
	if n := t.names(dst); n != nil {
		return n.looks
	}
	return looks{}
}

// find returns the chain for a connection, or nil.
func (t *tree) find(f *Facts) *chain {
	n := t.names(f.Local)
	if n == nil {
		return nil
	}
	p := n.byName(f.SNI)
	if p == nil {
		return nil
	}
	a := p.byProto(f.TLS)
	if a == nil {
		return nil
	}
	d := a.byALPN(f.ALPN)
	if d == nil {
		return nil
	}
	t2, ok := d.sources.find(f.Direct.Addr())
	if !ok {
		return nil
	}
	s := t2.byType(f)
	if s == nil {
		return nil
	}
	ports, ok := s.sources.find(f.Remote.Addr())
	if !ok {
		return nil
	}
	if c := ports.ports[f.Remote.Port()]; c != nil {
		return c
	}
	return ports.ports[0]
}

func (n *nameNode) byName(sni string) *protoNode {
	if p := n.names[sni]; p != nil {
		return p
	}
	for i := strings.IndexByte(sni, '.'); i >= 0; {
		if p := n.names[sni[i:]]; p != nil {
			return p
		}
		j := strings.IndexByte(sni[i+1:], '.')
		if j < 0 {
			break
		}
		i += 1 + j
	}
	return n.names[""]
}

func (p *protoNode) byProto(tls bool) *alpnNode {
	name := ProtoRaw
	if tls {
		name = ProtoTLS
	}
	if a := p.protos[name]; a != nil {
		return a
	}
	return p.protos[""]
}

func (a *alpnNode) byALPN(alpn []string) *directNode {
	for _, name := range alpn {
		if d := a.alpns[name]; d != nil {
			return d
		}
	}
	return a.alpns[""]
}

func (t *typeNode) byType(f *Facts) *sourceNode {
	local, external := t.types[SourceLocal], t.types[SourceExternal]
	if local != nil || external != nil {
		fits := external
		if isLocal(f) {
			fits = local
		}
		if fits != nil {
			return fits
		}
	}
	return t.types[SourceAny]
}

// isLocal tells whether the connection comes from the same machine: by Envoy's
// measure, which knows one loopback address of each family.
func isLocal(f *Facts) bool {
	r := f.Remote.Addr()
	return !r.IsValid() || r == loopback4 || r == loopback6 || r == f.Local.Addr()
}

var loopback4, loopback6 = netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
