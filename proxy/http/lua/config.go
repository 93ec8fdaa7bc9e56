package lua

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.lua"

// Kind describes the filter. Scripts log to log; nil: the default.
func Kind(log *slog.Logger) filter.HTTPKind {
	const prefix = "type.googleapis.com/envoy.extensions.filters.http.lua.v3."
	if log == nil {
		log = slog.Default()
	}
	return filter.HTTPKind{
		Name: Name, TypeURLs: []string{prefix + "Lua", prefix + "LuaPerRoute"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &luav3.Lua{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return parseFilter(ctx, m, log)
		},
		ParseRoute: func(ctx *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &luav3.LuaPerRoute{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			r := &perRoute{disabled: m.GetDisabled(), name: m.GetName(), context: m.GetFilterContext().AsMap()}
			if m.GetSourceCode() == nil {
				return r, nil
			}
			code, err := read(m.GetSourceCode())
			if err != nil {
				return nil, fmt.Errorf("source_code: %w", err)
			}
			if r.script, err = newScript(code, &host{name: ctx.FilterName, calls: ctx.Calls, log: log, errors: ctx.Stats.Counter("http", ctx.StatPrefix, "lua.errors")}); err != nil {
				return nil, fmt.Errorf("source_code: %w", err)
			}
			return r, nil
		},
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.lua.v3.Lua":         "inline_code source_codes default_source_code stat_prefix clear_route_cache",
	"envoy.extensions.filters.http.lua.v3.LuaPerRoute": "disabled name source_code filter_context",
	"envoy.config.core.v3.DataSource":                  "filename inline_bytes inline_string environment_variable",
	"google.protobuf.BoolValue":                        "value",
	"google.protobuf.Struct":                           "fields",
	"google.protobuf.Value":                            "null_value number_value string_value bool_value struct_value list_value",
	"google.protobuf.ListValue":                        "values",
}

// factory is a filter's configuration.
type factory struct {
	host *host
	// script runs where no route names another; nil: none does.
	script *script
	named  map[string]*script
	// keepRoute: changed headers choose no other route.
	keepRoute bool
}

// perRoute is a route's.
type perRoute struct {
	disabled bool
	name     string
	script   *script
	context  map[string]any
}

func parseFilter(ctx *filter.ParseContext, m *luav3.Lua, log *slog.Logger) (filter.HTTPFactory, error) {
	stat := "lua."
	if p := m.GetStatPrefix(); p != "" {
		stat += p + "."
	}
	f := &factory{named: map[string]*script{}, host: &host{name: ctx.FilterName, calls: ctx.Calls, log: log, errors: ctx.Stats.Counter("http", ctx.StatPrefix, stat+"errors")}}
	f.keepRoute = m.GetClearRouteCache() != nil && !m.GetClearRouteCache().GetValue()
	code, at := m.GetInlineCode(), "inline_code" //nolint:staticcheck // the old spelling counts too
	if m.GetDefaultSourceCode() != nil {
		if code != "" {
			return nil, errors.New("default_source_code: excludes inline_code")
		}
		var err error
		if code, err = read(m.GetDefaultSourceCode()); err != nil {
			return nil, fmt.Errorf("default_source_code: %w", err)
		}
		at = "default_source_code"
	}
	var err error
	if code != "" {
		if f.script, err = newScript(code, f.host); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
	}
	for name, src := range m.GetSourceCodes() {
		code, err := read(src)
		if err == nil {
			f.named[name], err = newScript(code, f.host)
		}
		if err != nil {
			return nil, fmt.Errorf("source_codes[%q]: %w", name, err)
		}
	}
	return f, nil
}

// read reads a script; a variable of the environment has to be there.
func read(d *corev3.DataSource) (string, error) {
	if name := d.GetEnvironmentVariable(); name != "" {
		if _, ok := os.LookupEnv(name); !ok {
			return "", fmt.Errorf("environment_variable: there is no %s", name)
		}
	}
	b, err := match.Data(d)
	return string(b), err
}

// New implements filter.HTTPFactory. The script is chosen when the route is known, with the request's head.
func (f *factory) New(s filter.Stream) filter.HTTPFilter { return &instance{factory: f, s: s} }

// choose is the script of a stream, and what its route says of it; nil: none runs.
func (f *factory) choose(s filter.Stream) (*script, map[string]any) {
	r, _ := s.RouteConfig(f.host.name).(*perRoute)
	switch {
	case r == nil:
		return f.script, nil
	case r.disabled:
		return nil, nil
	case r.script != nil:
		return r.script, r.context
	case r.name != "":
		return f.named[r.name], r.context
	}
	return f.script, r.context
}
