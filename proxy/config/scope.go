package config

import (
	"errors"
	"fmt"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/route"
)

// scopedNeed is a connection manager whose routes come by scopes (SRDS).
type scopedNeed struct {
	name, statPrefix string
	// timeout of the wait for scopes, routes for that of each scope's routes; 0: for ever.
	timeout, routes time.Duration
}

// InlineScopes are the scopes that a connection manager has of its own.
type InlineScopes struct {
	Name   string
	Scopes []*anypb.Any
}

// scopedRoutes makes the routes of a connection manager those of a request's scope.
func (d *Decoder) scopedRoutes(m *hcmv3.HttpConnectionManager, c *http.ManagerConfig, cc *chainContext) error {
	s := m.GetScopedRoutes()
	if s.Name == "" {
		return at(errors.New("is empty"), "name")
	}
	keys, err := scopeKeys(s.ScopeKeyBuilder)
	if err != nil {
		return at(err, "scope_key_builder")
	}
	scopes := func() route.Scopes { return nil }
	switch k := s.ConfigSpecifier.(type) {
	case *hcmv3.ScopedRoutes_ScopedRouteConfigurationsList:
		fixed, err := d.inlineScopes(s.Name, k.ScopedRouteConfigurationsList.GetScopedRouteConfigurations(), cc)
		if err != nil {
			return at(err, "scoped_route_configurations_list")
		}
		scopes = func() route.Scopes { return fixed }
	case *hcmv3.ScopedRoutes_ScopedRds:
		src, err := readSource(k.ScopedRds.GetScopedRdsConfigSource(), "")
		if err != nil {
			return at(err, "scoped_rds.scoped_rds_config_source")
		}
		rds := source{timeout: defaultFetchTimeout}
		if s.RdsConfigSource != nil {
			if rds, err = readSource(s.RdsConfigSource, ""); err != nil {
				return at(err, "rds_config_source")
			}
		}
		cc.scoped = append(cc.scoped, scopedNeed{s.Name, m.StatPrefix, src.timeout, rds.timeout})
		scopes = d.Scopes
	default:
		return errors.New("no scopes: want scoped_route_configurations_list or scoped_rds")
	}
	c.Scoped = func(h *filter.Headers) (*route.Table, string) {
		s := keys.Find(scopes(), h)
		if s == nil {
			return nil, ""
		}
		return s.Table(), s.OnDemand
	}
	return nil
}

func scopeKeys(m *hcmv3.ScopedRoutes_ScopeKeyBuilder) (*route.ScopeKeys, error) {
	list := make([]route.ScopeFragment, len(m.GetFragments()))
	for i, f := range m.GetFragments() {
		x := f.GetHeaderValueExtractor()
		list[i] = route.ScopeFragment{Header: x.GetName(), Separator: x.GetElementSeparator(), Index: int(x.GetIndex())}
		switch e := x.GetExtractType().(type) {
		case *hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Element:
			list[i].Key, list[i].KeySeparator = e.Element.GetKey(), e.Element.GetSeparator()
		case nil:
			return nil, at(errors.New("want index or element"), "fragments[%d].header_value_extractor", i)
		}
	}
	return route.NewScopeKeys(list)
}

// inlineScopes compiles scopes that bring their routes with them.
func (d *Decoder) inlineScopes(name string, list []*routev3.ScopedRouteConfiguration, cc *chainContext) (route.Scopes, error) {
	out, in, names := route.Scopes{}, InlineScopes{Name: name}, map[string]string{}
	for i, m := range list {
		s, err := readScope(m)
		switch {
		case err != nil:
		case s.routes != "":
			err = at(errors.New("is not for scopes inside of a connection manager: want route_configuration"), "route_configuration_name")
		case out[s.key] != nil:
			err = at(fmt.Errorf("the scope %q has the same", names[s.key]), "key")
		case m.RouteConfiguration.Vhds != nil:
			err = at(errors.New("is for routes that come over RDS"), "route_configuration.vhds")
		}
		if err != nil {
			return nil, at(err, "scoped_route_configurations[%d]", i)
		}
		spec, t, err := d.compileRoutes(m.RouteConfiguration)
		if err != nil {
			return nil, at(err, "scoped_route_configurations[%d].route_configuration", i)
		}
		cc.clusters = append(cc.clusters, clustersOf(spec)...)
		out[s.key], names[s.key] = &route.Scope{Table: func() *route.Table { return t }}, m.Name
		a, err := anypb.New(m)
		if err != nil {
			return nil, err
		}
		in.Scopes = append(in.Scopes, a)
	}
	cc.inlineScopes = append(cc.inlineScopes, in)
	return out, nil
}

// scope is a scope as it was written. Its routes come by name, or are inline.
type scope struct {
	key, routes string
	onDemand    bool
	inline      *routev3.RouteConfiguration
}

func readScope(m *routev3.ScopedRouteConfiguration) (s scope, err error) {
	var fragments []string
	for _, f := range m.GetKey().GetFragments() {
		fragments = append(fragments, f.GetStringKey())
	}
	s = scope{route.ScopeKey(fragments...), m.RouteConfigurationName, m.OnDemand, m.RouteConfiguration}
	switch {
	case m.Name == "":
		return s, at(errors.New("is empty"), "name")
	case len(fragments) == 0:
		return s, at(errors.New("is empty"), "key.fragments")
	case (s.routes == "") == (s.inline == nil):
		return s, at(errors.New("want one of it and route_configuration"), "route_configuration_name")
	}
	return s, nil
}
