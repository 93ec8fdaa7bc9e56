package cluster

import (
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Wanted are the hosts that a request names (LB.Override), each of which is tried once:
// the next one for each attempt. The zero value is ready; it is for one request.
type Wanted struct {
	looked bool
	rest   string
}

// Next is the next host that the request names and that the cluster has, whether healthy or not; nil:
// there is none left, and the balancer is to choose.
func (w *Wanted) Next(c *Cluster, h *filter.Headers, metadata map[string]any) *Host {
	sources := c.spec.LB.Override
	if sources == nil {
		return nil
	}
	if !w.looked {
		w.looked, w.rest = true, wanted(sources, h, metadata)
	}
	for w.rest != "" {
		var one string
		one, w.rest, _ = strings.Cut(w.rest, ",")
		addr, err := netip.ParseAddrPort(strings.TrimSpace(one))
		if err != nil {
			continue
		}
		for _, host := range c.view.Load().hosts {
			if host.Addr() == addr {
				return host
			}
		}
	}
	return nil
}

// wanted is what the first source says that says anything.
func wanted(sources []OverrideSource, h *filter.Headers, metadata map[string]any) string {
	for i := range sources {
		s := &sources[i]
		if s.Metadata != nil {
			if text, _ := filter.Lookup(metadata, s.Metadata).(string); text != "" {
				return text
			}
			continue
		}
		if text := h.Get(s.Header); text != "" {
			return text
		}
	}
	return ""
}
