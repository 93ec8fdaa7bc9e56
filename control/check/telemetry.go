package check

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// telemetry judges Telemetry resources: whom they are for, and whether the
// providers that they name exist and can take what is sent.
func (c *checker) telemetry(defaults map[model.Key]*model.Meta) {
	both := chosen{}
	for _, t := range c.s.Telemetry {
		if t.Gateways == nil {
			c.selector(&t.Meta, t.Selector, "spec.selector", defaults)
			c.both(both, &t.Meta, t.Selector, "spec.selector")
			c.targeted(&t.Meta, t.Selector)
		}
		c.logs(t)
		for i := range t.Tracing {
			c.providers(t, fmt.Sprintf("spec.tracing[%d].providers", i), t.Tracing[i].Providers, "spans", model.ProviderKind.Traces)
		}
		for i := range t.Logs {
			c.providers(t, fmt.Sprintf("spec.accessLogging[%d].providers", i), t.Logs[i].Providers, "access logs", model.ProviderKind.Logs)
		}
		for i := range t.Metrics {
			c.providers(t, fmt.Sprintf("spec.metrics[%d].providers", i), t.Metrics[i].Providers, "metrics",
				func(k model.ProviderKind) bool { return k == model.ProviderPrometheus })
		}
	}
}

// logs warns of rules about access logs where no provider is named, neither there nor
// in what they add to: they say nothing.
func (c *checker) logs(t *model.Telemetry) {
	if len(c.s.Mesh.DefaultLogs) > 0 {
		return
	}
	for i := range t.Logs {
		if t.Logs[i].Disabled || len(t.Logs[i].Providers) > 0 || c.logsElsewhere(t) {
			continue
		}
		c.warn(CodeNoLogs, &t.Meta, fmt.Sprintf("spec.accessLogging[%d]", i), "names no provider, and the mesh configuration has none by default: it has no effect",
			"add providers: [{name: envoy}], or defaultProviders.accessLogging to the mesh configuration")
	}
}

// logsElsewhere tells whether a wider resource names a provider of access logs.
func (c *checker) logsElsewhere(t *model.Telemetry) bool {
	return slices.ContainsFunc(c.s.Telemetry, func(o *model.Telemetry) bool {
		wider := o.Selector == nil && o.Gateways == nil && (o.Key.Namespace == t.Key.Namespace || o.Key.Namespace == c.s.Mesh.RootNamespace)
		return o != t && wider && slices.ContainsFunc(o.Logs, func(l model.LogRule) bool { return len(l.Providers) > 0 })
	})
}

func (c *checker) providers(t *model.Telemetry, at string, names []string, what string, fits func(model.ProviderKind) bool) {
	for i, n := range names {
		field := fmt.Sprintf("%s[%d].name", at, i)
		switch p := c.s.Mesh.Provider(n); {
		case p == nil:
			var known []string
			for _, p := range c.s.Mesh.Providers {
				known = append(known, p.Name)
			}
			remedy := "add it to extensionProviders of the mesh configuration"
			if best := closest(n, known); best != "" {
				remedy = "did you mean " + best + "?"
			}
			c.fail(CodeProvider, &t.Meta, field, fmt.Sprintf("the mesh configuration has no provider %q", n), remedy)
		case !fits(p.Kind):
			c.warn(CodeProvider, &t.Meta, field, fmt.Sprintf("%s do not go to the provider %q", what, n), "name another one")
		}
	}
}

// named are the providers that a resource names for spans and logs.
func named(t *model.Telemetry) []string {
	var out []string
	for i := range t.Tracing {
		out = slices.Concat(out, t.Tracing[i].Providers)
	}
	for i := range t.Logs {
		out = slices.Concat(out, t.Logs[i].Providers)
	}
	return out
}
