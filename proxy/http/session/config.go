package session

import (
	"fmt"
	"strings"

	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	const prefix = "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3."
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{prefix + "StatefulSession", prefix + "StatefulSessionPerRoute"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &sessionv3.StatefulSession{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			c, err := parse(m)
			f := &factory{name: ctx.FilterName, own: c}
			if m.StatPrefix != "" {
				counter := func(stat string) *filter.Counter { return ctx.Counter("stateful_session." + m.StatPrefix + "." + stat) }
				f.stats = &counters{counter("routed"), counter("failed_open"), counter("failed_closed"), counter("no_session")}
			}
			return f, err
		},
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &sessionv3.StatefulSessionPerRoute{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			if m.GetDisabled() {
				return &config{}, nil
			}
			c, err := parse(m.GetStatefulSession())
			if err != nil {
				err = fmt.Errorf("stateful_session.%w", err)
			}
			return c, err
		},
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.stateful_session.v3.StatefulSession":         "session_state strict status_on_strict_destination_not_found stat_prefix",
	"envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute": "disabled stateful_session",
	"envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState":  "cookie",
	"envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState":  "name",
	"envoy.type.http.v3.Cookie":                 "name ttl path",
	"envoy.config.core.v3.TypedExtensionConfig": "name typed_config",
}

func parse(m *sessionv3.StatefulSession) (*config, error) {
	c := &config{strict: m.GetStrict(), status: int(m.GetStatusOnStrictDestinationNotFound())}
	if m.GetSessionState() == nil {
		return c, nil // the filter does something on routes only
	}
	s, err := m.SessionState.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("session_state.typed_config: %w", err)
	}
	switch s := s.(type) {
	case *cookiev3.CookieBasedSessionState:
		c.cookie, c.path, c.ttl = s.Cookie.GetName(), s.Cookie.GetPath(), s.Cookie.GetTtl().AsDuration()
	case *headerv3.HeaderBasedSessionState:
		c.header = strings.ToLower(s.Name)
	default:
		return nil, fmt.Errorf("session_state.typed_config: %s is not supported", m.SessionState.GetTypedConfig().GetTypeUrl())
	}
	return c, nil
}
