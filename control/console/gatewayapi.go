package console

import (
	"strings"

	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/gwstatus"
	"github.com/weftmesh/weft/control/model"
)

// gatewayAPI adds the status that objects of Gateway API have by that, with the times
// since when its conditions are what they are.
func (c *Console) gatewayAPI(s *model.Snapshot, o *ObjectSummary) {
	if !gwstatus.Has(o.Kind) {
		return
	}
	in := gwstatus.Input{Snapshot: s, Object: o.Key, Findings: o.Findings, Push: pushed(o.Status.Reach)}
	if s.Objects.Get(o.Key) == nil && len(o.Findings) > 0 {
		in.Written, _ = c.Store.Raw(o.Key, o.Findings[0].Origin) // without it the parents are not known
	}
	if o.Status.GatewayAPI = gwstatus.Of(in); o.Status.GatewayAPI != nil {
		c.transitions.markAll(o.Key, o.Status.GatewayAPI)
	}
}

// pushed is how far the proxies are, as a status says it.
func pushed(r *fleet.Reach) *gwstatus.Push {
	if r == nil {
		return nil
	}
	out := &gwstatus.Push{Programmed: r.Programmed, Of: r.Of}
	var why []string
	for _, p := range r.Pending {
		out.Rejected = out.Rejected || p.Rejected
		why = append(why, p.Proxy+" "+p.Why)
	}
	out.Why = strings.Join(why, "; ")
	return out
}

// markAll sets the times of all conditions of a status; see mark.
func (t *transitions) markAll(k model.Key, s *gwstatus.Status) {
	s.Each(func(place string, c *gwstatus.Condition) {
		one := []Condition{{Type: place + " " + c.Type, Status: c.Status}}
		t.mark(k, one)
		c.LastTransitionTime = one[0].Since
	})
}
