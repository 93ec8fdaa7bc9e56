package console

import (
	"fmt"
	"time"

	"github.com/weftmesh/weft/control/model"
)

// SlimeStatus is what Slime's kinds have in their status.
type SlimeStatus struct {
	// Domains are the hosts of a ServiceFence that are used or listed, by host.
	Domains map[string]Domain `json:"domains,omitempty"`
	// Limits are the limits of a SmartLimiter that are in force, by set.
	Limits map[string]LimitSet `json:"ratelimitStatus,omitempty"`
	// Metric are, of a ServiceFence, the hosts that were learned, and of a SmartLimiter the numbers that its expressions
	// were evaluated with; both in Slime's own form.
	Metric map[string]string `json:"metricStatus,omitempty"`
}

// Domain is one host of a fence: ACTIVE, EXPIREWAIT when it was not used for as long as after which proxies lose what
// they do not use, or EXPIRE when it was listed until some time.
type Domain struct {
	Hosts  []string `json:"hosts"`
	Status string   `json:"status"`
	// Called is when it was used last, RFC 3339.
	Called string `json:"recentlyCalled,omitempty"`
}

// fenceStatus makes the status of a fence.
func (c *Console) fenceStatus(f *model.Fence, now time.Time) SlimeStatus {
	out := SlimeStatus{Domains: map[string]Domain{}, Metric: map[string]string{}}
	for _, h := range f.Hosts {
		d := Domain{Hosts: []string{h.Host}, Status: "ACTIVE"}
		if h.Until != 0 && h.Until <= now.Unix() {
			d.Status = "EXPIRE"
		}
		out.Domains[h.Host] = d
	}
	used, lately := c.Proxies.Learned(f.Key)
	for host, at := range used {
		d := Domain{Hosts: []string{host}, Status: "ACTIVE", Called: at.UTC().Format(time.RFC3339)}
		if listed, ok := out.Domains[host]; ok {
			d.Status = listed.Status
		} else if now.Sub(at) > lately {
			d.Status = "EXPIREWAIT"
		}
		out.Domains[host] = d
		out.Metric[fmt.Sprintf("{destination_service=%q}", host)] = "1"
	}
	return out
}
