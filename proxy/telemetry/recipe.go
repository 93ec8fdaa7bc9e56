package telemetry

import (
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	statspb "istio.io/api/envoy/extensions/stats"

	"github.com/weftmesh/weft/proxy/filter"
)

// Recipe is a compiled configuration of the filter istio.stats, for who counts
// what another engine has carried. The zero Recipe is the mesh's standard one.
type Recipe struct{ set *settings }

// Recipe reads a stats.PluginConfig in its JSON form; empty: the zero Recipe.
func (m *Metrics) Recipe(json string) (Recipe, error) {
	if json == "" {
		return Recipe{}, nil
	}
	c := &statspb.PluginConfig{}
	if err := protojson.Unmarshal([]byte(json), c); err != nil {
		return Recipe{}, err
	}
	// As the standard settings have it: what a client writes into Host names no series.
	c.DisableHostHeaderFallback = true
	a, err := anypb.New(c)
	if err != nil {
		return Recipe{}, err
	}
	s, err := m.settings(a)
	return Recipe{s}, err
}

// RequestBy counts a request that has ended as a recipe says.
func (m *Metrics) RequestBy(r Recipe, i *filter.Info, outbound bool) {
	if r.set == nil {
		r.set = m.standard
	}
	m.request(i, outbound, r.set)
}

// Mark has a connection counted as the recipe says.
func (r Recipe) Mark(c *filter.ConnInfo) {
	c.Counted = true
	if r.set != nil {
		c.CountedAs = r.set
	}
}
