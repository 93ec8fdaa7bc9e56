package config

import (
	"errors"
	"fmt"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	environmentv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/environment_variable/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/proxy/filter/choice"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

// choice reads the matcher of a virtual host. Like Envoy it knows request headers,
// filter state and the environment as inputs.
func (d *Decoder) choice(m *xdsmatcherv3.Matcher, virtualHost string) (*route.Choice, error) {
	out := &route.Choice{}
	trees := match.Trees[route.Facts, int]{
		Input: d.routeInput, Runtime: d.Runtime,
		Action: func(m *xdscorev3.TypedExtensionConfig) (int, error) {
			list, err := d.routeAction(m, virtualHost)
			out.Lists = append(out.Lists, list)
			return len(out.Lists) - 1, at(err, "typed_config")
		},
	}
	var err error
	out.Tree, err = trees.Read(m)
	return out, err
}

// routeAction reads a route, or a list of them.
func (d *Decoder) routeAction(m *xdscorev3.TypedExtensionConfig, virtualHost string) ([]route.Route, error) {
	one, list := &routev3.Route{}, &routev3.RouteList{}
	switch a := m.GetTypedConfig(); {
	case a.MessageIs(one):
		if err := open(a, one); err != nil {
			return nil, err
		}
		list.Routes = []*routev3.Route{one}
	case a.MessageIs(list):
		if err := open(a, list); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("want a route or a list of routes")
	}
	out := make([]route.Route, len(list.Routes))
	for i, m := range list.Routes {
		if err := d.route(m, &out[i], virtualHost); err != nil {
			return nil, at(err, "routes[%d]", i)
		}
	}
	return out, nil
}

func (d *Decoder) routeInput(m *xdscorev3.TypedExtensionConfig) (in choice.Input[route.Facts], err error) {
	header, state, env := &matcherv3.HttpRequestHeaderMatchInput{}, &networkv3.FilterStateInput{}, &environmentv3.Config{}
	switch a := m.GetTypedConfig(); {
	case a.MessageIs(header):
		err = open(a, header)
		in = route.HeaderInput(header.HeaderName)
	case a.MessageIs(state):
		err = open(a, state)
		in = route.StateInput(state.Key)
	case a.MessageIs(env):
		err = open(a, env)
		value := ""
		if d.RouteOptions.Env != nil {
			value = d.RouteOptions.Env(env.Name)
		}
		in = func(route.Facts) (string, bool) { return value, value != "" }
	default:
		err = fmt.Errorf("%s is not supported: routes are chosen by request headers, filter state and the environment", typeOf(a))
	}
	return in, at(err, "typed_config")
}
