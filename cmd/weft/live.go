package main

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate"
)

// meshOf makes of what a control plane has been told what it makes of it.
func meshOf(st console.State) *offline.Mesh {
	p := offline.Parts{
		Settings:  offline.Settings{Mode: st.ConfigMode, Families: st.Families, CaptureRange: st.CaptureRange, VIPRange: st.VIPRange},
		Addresses: map[model.Key][]netip.Prefix{},
	}
	for _, s := range st.Sources {
		p.Deltas = append(p.Deltas, model.Delta{Source: s.Name, Full: true, Upserts: s.Objects, Findings: s.Findings})
	}
	for _, a := range st.Addresses {
		p.Addresses[a.Service] = a.Addresses
	}
	for _, m := range st.Proxies {
		asked := translate.Asked{}
		for _, url := range slices.Sorted(maps.Keys(m.Asked)) {
			asked[url] = map[string]bool{}
			for _, name := range m.Asked[url] {
				asked[url][name] = true
			}
		}
		p.Proxies = append(p.Proxies, offline.Proxy{Proxy: scope.Proxy{ID: m.ID, Meta: m.Meta, OnDemand: m.OnDemand}, Asked: asked})
	}
	return offline.New(p)
}
