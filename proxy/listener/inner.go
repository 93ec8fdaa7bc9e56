package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

// Inner is a connection to an internal listener, and what comes along.
type Inner struct {
	Listener, ID string
	// Metadata becomes the connection's. Read only.
	Metadata map[string]any
	// Shared become objects of its filter state.
	Shared []filter.Shared
}

// String is the address that the connection came to, as Envoy writes it.
func (in *Inner) String() string { return "envoy://" + in.Listener + "/" + in.ID }

// Connect makes a connection to an internal listener and returns the client's
// side. The two sides are sockets, so that all of the host's ways are open to them.
func (m *Manager) Connect(_ context.Context, to Inner) (net.Conn, error) {
	l := m.table.Load().named(to.Listener)
	if l == nil || !l.Internal {
		return nil, fmt.Errorf("there is no internal listener %q", to.Listener)
	}
	ours, theirs, err := transport.Pair()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil || m.stopping {
		ours.Close()
		theirs.Close()
		return nil, errors.New("the listeners are not running")
	}
	ctx := m.ctx
	m.arriving.Add(1)
	m.wg.Go(func() {
		defer m.arriving.Add(-1)
		m.serve(ctx, &arrival{m: m, l: l, inner: &to, nc: theirs, raw: theirs, metadata: to.Metadata})
	})
	return ours, nil
}

// originalKey is the metadata in which a connection to an internal listener says
// where it wanted to go, Envoy's name.
const originalKey = "envoy.filters.listener.original_dst"

// describeInner finds the addresses of a connection to an internal listener: there
// are none but what metadata and filter state say.
func (a *arrival) describeInner() {
	if len(a.inner.Shared) > 0 {
		a.facts.Objects = make(map[string]any, len(a.inner.Shared))
		for _, o := range a.inner.Shared {
			a.facts.Objects[o.Key] = o.Value
		}
	}
	for _, in := range a.inspectors {
		if in.Kind != OriginalDst || in.Disabled.Match(0) {
			continue
		}
		if m, ok := a.inner.Metadata[originalKey].(map[string]any); ok {
			text, _ := m["local"].(string)
			if dst, err := netip.ParseAddrPort(text); err == nil {
				a.facts.Local = dst
			}
		}
		for _, o := range a.inner.Shared {
			text, _ := o.Value.(string)
			addr, err := netip.ParseAddrPort(text)
			switch {
			case err != nil:
			case o.Key == filter.StateOriginalLocal:
				a.facts.Local = addr
			case o.Key == filter.StateOriginalRemote:
				a.facts.Remote = addr
			}
		}
	}
}
