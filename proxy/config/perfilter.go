package config

import (
	"errors"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
)

// perFilter parses typed_per_filter_config by the kinds of HTTP filters. Every
// filter that is named is switched on or off by it.
func (d *Decoder) perFilter(m map[string]*anypb.Any) (config map[string]any, off map[string]bool, err error) {
	if len(m) == 0 {
		return nil, nil, nil
	}
	config, off = make(map[string]any, len(m)), make(map[string]bool, len(m))
	for name, a := range m {
		v, disabled, err := d.perFilterOne(name, a)
		if err != nil {
			return nil, nil, at(err, "typed_per_filter_config[%q]", name)
		}
		off[name] = disabled
		if v != nil {
			config[name] = v
		}
	}
	return config, off, nil
}

// perFilterOne takes the wrapper FilterConfig off, if there is one.
func (d *Decoder) perFilterOne(name string, a *anypb.Any) (v any, disabled bool, err error) {
	if !a.MessageIs(&routev3.FilterConfig{}) {
		v, err = d.routeFilter(name, a, false)
		return v, false, err
	}
	w := &routev3.FilterConfig{}
	if err := open(a, w); err != nil {
		return nil, false, err
	}
	switch {
	case w.Disabled: // its configuration is not looked at, as in Envoy
		return nil, true, nil
	case w.Config == nil:
		return nil, false, errors.New("config: is not set; an empty one switches the filter on")
	case w.Config.TypeUrl == "":
		return nil, false, nil
	}
	v, err = d.routeFilter(name, w.Config, w.IsOptional)
	return v, false, at(err, "config")
}

// routeFilter parses a filter's configuration for a route. An optional one that
// nobody here understands is left out.
func (d *Decoder) routeFilter(name string, a *anypb.Any, optional bool) (any, error) {
	k, a, err := d.httpKind(a)
	if err != nil {
		if optional {
			return nil, nil
		}
		return nil, err
	}
	if k.ParseRoute == nil {
		if optional {
			return nil, nil
		}
		return nil, fmt.Errorf("the filter %s has no configuration per route", k.Name)
	}
	return k.ParseRoute(&filter.ParseContext{FilterName: name, Stats: d.FilterStats, ServiceCluster: d.ServiceCluster, Calls: d.Calls, Local: d.Local, Runtime: d.Runtime}, a)
}
