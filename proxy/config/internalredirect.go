package config

import (
	"fmt"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	allowv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/allow_listed_routes/v3"
	previousroutesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/previous_routes/v3"
	safev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/internal_redirect/safe_cross_scheme/v3"

	"github.com/weftmesh/weft/proxy/route"
)

// internalRedirect reads which redirects of the upstream the proxy follows itself.
func internalRedirect(m *routev3.InternalRedirectPolicy) (*route.InternalRedirect, error) {
	if m == nil {
		return nil, nil
	}
	p := &route.InternalRedirect{Max: or(m.MaxInternalRedirects, 1), CrossScheme: m.AllowCrossSchemeRedirect}
	for _, c := range m.RedirectResponseCodes {
		switch c { // Envoy takes others and does nothing with them
		case 301, 302, 303, 307, 308:
			p.Statuses = append(p.Statuses, int(c))
		}
	}
	if len(m.RedirectResponseCodes) == 0 {
		p.Statuses = []int{302}
	}
	for i, e := range m.Predicates {
		a := e.GetTypedConfig()
		switch {
		case a.MessageIs(&previousroutesv3.PreviousRoutesConfig{}):
			p.NewRoutes = true
		case a.MessageIs(&safev3.SafeCrossSchemeConfig{}):
			p.SafeCrossScheme = true
		case a.MessageIs(&allowv3.AllowListedRoutesConfig{}):
			c := &allowv3.AllowListedRoutesConfig{}
			if err := unpack(a, c); err != nil {
				return nil, at(err, "predicates[%d].typed_config", i)
			}
			p.AllowListed = both(p.AllowListed, c.AllowedRouteNames)
		default:
			return nil, at(fmt.Errorf("%q is not supported", e.GetName()), "predicates[%d]", i)
		}
	}
	for _, name := range m.ResponseHeadersToCopy {
		p.Copy = append(p.Copy, lower(name))
	}
	return p, nil
}

// both are the names that are on both lists; a nil one has all.
func both(a, b []string) []string {
	out := []string{}
	for _, n := range b {
		if a == nil || slices.Contains(a, n) {
			out = append(out, n)
		}
	}
	return out
}
