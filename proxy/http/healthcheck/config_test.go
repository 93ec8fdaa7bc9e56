package healthcheck

import (
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"`

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind("c", nil, func() bool { return false }).Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `}`: "PassThroughMode",
		typ + `,"passThroughMode":false,"cacheTime":"1s"}`:                                       "cache_time",
		typ + `,"passThroughMode":true,"headers":[{"name":"x","safeRegexMatch":{"regex":"("}}]}`: "headers",
	})
}
