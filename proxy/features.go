package proxy

import (
	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/telemetry"
	"github.com/weftmesh/weft/wire"
)

// Features is what of Envoy's API the proxy carries out.
type Features struct {
	// HTTPFilters and NetworkFilters by name, beside router, connection manager
	// and tcp_proxy. What their configurations lack is refused by the field's name.
	HTTPFilters    []string `json:"httpFilters"`
	NetworkFilters []string `json:"networkFilters"`
	// Messages with the fields that are supported, and those that are refused.
	Messages []strict.Feature `json:"messages"`
}

// Supported lists the features from the tables that configurations are checked with.
func Supported() (Features, error) {
	messages, err := config.Features()
	if err != nil {
		return Features{}, err
	}
	f := Features{Messages: messages}
	// The lists of filters need a runtime only to make filters.
	r := &runtime{boot: &config.Bootstrap{}, observe: &observe{metrics: telemetry.New(telemetry.Local(wire.NodeMetadata{}), telemetry.NewDirectory(func(string) {}))}}
	for _, k := range r.httpKinds() {
		f.HTTPFilters = append(f.HTTPFilters, k.Name)
	}
	for _, k := range r.networkKinds() {
		f.NetworkFilters = append(f.NetworkFilters, k.Name)
	}
	return f, nil
}
