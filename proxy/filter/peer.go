package filter

// Peer is what a peer has told of itself: for metrics and logs, since nothing
// proves it. It is shared and read only.
type Peer struct {
	WorkloadRef
	// Instance is the name of the pod or machine; Kind is "deployment", "pod",
	// "job" or "cronjob", "" when it is not known.
	Instance, Kind string
	// Labels that the configuration asks for beside the canonical ones.
	Labels map[string]string
}

// Keys of filter state under which Istio's proxies keep peers.
const (
	StateUpstreamPeer   = "upstream_peer"
	StateDownstreamPeer = "downstream_peer"
)

// PeerOf is the peer under a key of filter state; nil: it has told nothing, or
// the key is another's.
func (i *Info) PeerOf(key string) *Peer {
	switch key {
	case StateUpstreamPeer:
		return i.Upstream.Peer
	case StateDownstreamPeer:
		if i.Peer == nil && i.Conn != nil {
			return i.Conn.Peer
		}
		return i.Peer
	}
	return nil
}

// Attributes are a peer's by the names that Istio's proxies give them; what is
// not known is left out.
func (p *Peer) Attributes() map[string]any {
	m := map[string]any{}
	for _, f := range [...]struct{ name, value string }{
		{"workload", p.Name}, {"namespace", p.Namespace}, {"cluster", p.Cluster}, {"service", p.Service},
		{"revision", p.Revision}, {"app", p.App}, {"version", p.Version}, {"name", p.Instance}, {"type", p.Kind},
	} {
		if f.value != "" {
			m[f.name] = f.value
		}
	}
	if len(p.Labels) > 0 {
		labels := make(map[string]any, len(p.Labels))
		for k, v := range p.Labels {
			labels[k] = v
		}
		m["labels"] = labels
	}
	return m
}
