package console

import (
	"net/http"
	"net/netip"

	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
)

// State is all that a control plane has been told: another program of the same
// release makes the same of it (control/offline). Private keys are sealed in it
// (model.Secret.Sealed).
type State struct {
	// Version is the program's, Snapshot that of the configuration.
	Version  string        `json:"version"`
	Snapshot uint64        `json:"snapshot"`
	Sources  []StateSource `json:"sources"`
	// Addresses are those that services were given.
	Addresses  []StateAddress `json:"addresses"`
	ConfigMode string         `json:"configMode"`
	Families   []int          `json:"families"`
	// CaptureRange and VIPRange are as in offline.Settings.
	CaptureRange string         `json:"captureRange,omitempty"`
	VIPRange     string         `json:"vipRange,omitempty"`
	Proxies      []fleet.Member `json:"proxies"`
}

// StateSource is what one source has said. Of two with the same object the first
// one's counts.
type StateSource struct {
	Name     string          `json:"name"`
	Objects  model.Objects   `json:"objects"`
	Findings []model.Finding `json:"findings"`
}

// StateAddress is what was allocated for one service.
type StateAddress struct {
	Service   model.Key      `json:"service"`
	Addresses []netip.Prefix `json:"addresses"`
}

// state answers with the State.
func (c *Console) state(w http.ResponseWriter, r *http.Request) {
	snap := c.Snapshots.Load()
	if snap == nil {
		fail(w, http.StatusServiceUnavailable, "no configuration yet")
		return
	}
	said, err := c.Said(r.Context())
	if err != nil {
		return // the reader has gone
	}
	st := State{Version: c.Version, Snapshot: snap.Version, ConfigMode: c.ConfigMode, Families: c.Families, CaptureRange: c.CaptureRange, VIPRange: c.VIPRange, Proxies: c.Proxies.Members()}
	if st.Families == nil {
		st.Families = []int{4, 6}
	}
	for _, d := range said {
		st.Sources = append(st.Sources, StateSource{d.Source, d.Upserts, d.Findings})
	}
	for _, s := range snap.Services {
		if s.AutoVIP {
			st.Addresses = append(st.Addresses, StateAddress{s.Key, s.VIPs})
		}
	}
	reply(w, st)
}
