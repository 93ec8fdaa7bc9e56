package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// capture says what cannot work where only traffic to the range of services' addresses
// enters sidecars, and for which services no address is left there.
func (c *checker) capture() {
	if c.s.Captured == nil {
		return
	}
	for _, s := range c.s.Services {
		if s.Instance == "" {
			c.captured(s)
		}
	}
	if m := c.s.Mesh; m != nil && m.Outbound == model.RegistryOnly {
		c.warn(CodeUnguarded, &m.Meta, "outboundTrafficPolicy.mode", "REGISTRY_ONLY holds for "+spell(c.s.Captured)+" only: sidecars do not see traffic to other addresses",
			"start the mesh with --capture-range all, or write ALLOW_ANY")
	}
	for _, s := range c.s.Sidecars {
		field := ""
		switch {
		case s.OutboundPolicy != nil && *s.OutboundPolicy == model.RegistryOnly:
			field = "mode"
		case s.EgressProxy != nil:
			field = "egressProxy"
		default:
			continue
		}
		c.warn(CodeUnguarded, &s.Meta, "spec.outboundTrafficPolicy."+field, "the policy holds for "+spell(c.s.Captured)+" only: sidecars do not see traffic to other addresses",
			"start the mesh with --capture-range all, or leave the field out")
	}
}

func (c *checker) captured(s *model.Service) {
	switch {
	case s.ExternalName != "":
	case s.FromEntry && s.Resolution == model.Passthrough:
		what := "goes on to whatever address the client has found"
		if strings.HasPrefix(s.Host, "*") {
			what = "is a wildcard, whose hosts' addresses only the client finds out"
		}
		c.warn(CodeUncaptured, &s.Meta, "spec.resolution", fmt.Sprintf("%s %s: no address of %s can stand for it, and its traffic does not enter sidecars", s.Host, what, spell(c.s.Captured)),
			"set resolution DYNAMIC_DNS for a wildcard, or name hosts without spec.addresses, or give endpoints")
	case len(s.VIPs) == 0:
		c.fail(CodeFull, &s.Meta, hostField(s), "no address of "+spell(c.s.Captured)+" is left for "+s.Host, "choose a larger range with --vip-range")
	case len(s.Elsewhere) > 0:
		c.note(CodeElsewhere, &s.Meta, addressField(s), fmt.Sprintf("who connects to %s goes there past the sidecar: %s is captured at %s", spell(s.Elsewhere), s.Host, spell(s.VIPs)),
			"call it by its name, or write an address of "+spell(c.s.Captured))
	}
}

// spell lists prefixes, single addresses without their length.
func spell(list []netip.Prefix) string {
	var out []string
	for _, p := range list {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.String())
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
