package config

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/proxy/http/descriptor"
)

// withLimits puts the rate_limits of a route or virtual host among the
// configuration of filters, where the filters that limit look for them.
func withLimits(c map[string]any, list []*routev3.RateLimit, host, include bool) (map[string]any, error) {
	p, err := descriptor.RouteConfig(list, host, include)
	if err != nil {
		return nil, fmt.Errorf("rate_limits%w", err)
	}
	if p == nil {
		return c, nil
	}
	if c == nil {
		c = map[string]any{}
	}
	c[descriptor.Key] = p
	return c, nil
}
