package cluster

import (
	"context"
	"errors"
	"maps"
	"net"

	"github.com/weftmesh/weft/proxy/filter"
)

// Inner is a connection to an internal listener, and what goes along.
type Inner struct {
	Listener, ID string
	// Metadata is what the transport passes on, by name. Read only.
	Metadata map[string]any
	Shared   []filter.Shared
}

// PassedMetadata is a part of the metadata of endpoint or cluster that goes
// along to internal listeners.
type PassedMetadata struct {
	Name        string
	FromCluster bool
}

// dialInner connects to an internal listener.
func (c *Cluster) dialInner(ctx context.Context, h *Host, e *Endpoint, o *DialOptions) (net.Conn, error) {
	if c.m.o.Inner == nil {
		return nil, errors.New("there are no internal listeners here")
	}
	in := Inner{Listener: e.Internal, ID: e.InternalID}
	if h.inner {
		in.Shared = o.Shared
	}
	for _, p := range h.passed {
		from := e.Metadata
		if p.FromCluster {
			from = c.spec.Metadata
		}
		if v, ok := from[p.Name].(map[string]any); ok {
			if in.Metadata == nil {
				in.Metadata = map[string]any{}
			}
			in.Metadata[p.Name] = maps.Clone(v)
		}
	}
	return c.m.o.Inner(ctx, in)
}
