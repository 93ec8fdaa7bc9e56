package aeraki

import (
	"maps"
	"slices"
	"strings"
	"time"

	api "github.com/weftmesh/weft/api/aeraki/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/wire"
)

const (
	// leastInterval is Envoy's and ours: buckets are not filled more often.
	leastInterval = 50 * time.Millisecond
	// askTimeout is how long a service of limits is waited for, where nothing is said (Aeraki's documentation).
	askTimeout = 20 * time.Millisecond
)

// limits converts both kinds of limits; nil: there are none.
func limits(d *document.Document, spec *api.MetaRouterSpec) *model.RateLimits {
	out := &model.RateLimits{}
	if l := spec.LocalRateLimit; l != nil {
		at := "spec.localRateLimit"
		for i := range l.Conditions {
			c, at := &l.Conditions[i], document.At(at+".conditions", i)
			if c.TokenBucket == nil {
				d.Error(document.CodeMissing, at+".tokenBucket", "say how many requests are allowed", "is missing")
				continue
			}
			out.Local = append(out.Local, bucket(d, at, c.TokenBucket, attributes(d, at+".match", c.Match)))
		}
		if l.TokenBucket != nil {
			out.Local = append(out.Local, bucket(d, at, l.TokenBucket, nil))
		}
		if len(out.Local) == 0 {
			d.Error(document.CodeMissing, at+".tokenBucket", "say how many requests are allowed", "is missing")
		}
	}
	if spec.GlobalRateLimit != nil {
		out.Global = global(d, "spec.globalRateLimit", spec.GlobalRateLimit)
	}
	if out.Local == nil && out.Global == nil {
		return nil
	}
	if g := out.Global; g != nil && g.Match != nil && len(out.Local) > 0 && out.Local[0].Match != nil && !slices.Equal(out.Local[0].Match.Conditions, g.Match.Conditions) {
		// Each request has one route, which has one bucket.
		d.Unsupported("spec.globalRateLimit.match", "write the match of the first condition, or none", "differs from the match of localRateLimit.conditions[0]: both are not carried out together")
	}
	return out
}

func bucket(d *document.Document, at string, b *api.TokenBucket, m *model.Match) model.LocalLimit {
	out := model.LocalLimit{Match: m, Max: b.MaxTokens, PerFill: 1}
	if b.TokensPerFill != nil {
		out.PerFill = *b.TokensPerFill
	}
	at += ".tokenBucket"
	if out.Max == 0 {
		d.Invalid(at+".maxTokens", "", "must be at least 1")
	}
	if out.PerFill == 0 {
		d.Invalid(at+".tokensPerFill", "remove it for 1", "must be at least 1")
	}
	out.Every = duration(d, at+".fillInterval", b.FillInterval, 0)
	if out.Every < leastInterval {
		d.Invalid(at+".fillInterval", "write e.g. 1s", "must be at least %s, got %q", leastInterval, b.FillInterval)
	}
	return out
}

func duration(d *document.Document, at, text string, unset time.Duration) time.Duration {
	if text == "" {
		return unset
	}
	n, err := time.ParseDuration(text)
	if err != nil || n <= 0 {
		d.Invalid(at, "write e.g. 1s", "%q is not a duration", text)
	}
	return n
}

// attributes converts a match; one without attributes matches all.
func attributes(d *document.Document, at string, m *api.Match) *model.Match {
	if m == nil || len(m.Attributes) == 0 {
		return nil
	}
	out := &model.Match{}
	for _, name := range slices.Sorted(maps.Keys(m.Attributes)) {
		out.Conditions = append(out.Conditions, condition(d, document.Join(at+".attributes", name), name, m.Attributes[name]))
	}
	return out
}

func global(d *document.Document, at string, g *api.GlobalRateLimit) *model.GlobalLimit {
	out := &model.GlobalLimit{
		Domain: g.Domain, Match: attributes(d, at+".match", g.Match), Deny: g.DenyOnFail,
		Timeout: duration(d, at+".requestTimeout", g.RequestTimeout, askTimeout),
	}
	if g.Domain == "" {
		d.Error(document.CodeMissing, at+".domain", "write the domain that the service knows", "is missing")
	}
	direction, port, _, host, ok := wire.SplitClusterName(g.RateLimitService)
	if !ok || direction != wire.Outbound || host == "" {
		d.Invalid(at+".rateLimitService", "write outbound|8081||rate-limit.NAMESPACE.svc.cluster.local", "%q is not the name of a cluster", g.RateLimitService)
	}
	out.Host, out.Port = host, port
	for i, x := range g.Descriptors {
		at := document.At(at+".descriptors", i)
		if x.DescriptorKey == "" {
			d.Error(document.CodeMissing, at+".descriptorKey", "name the key that the service knows", "is missing")
		}
		c := condition(d, at+".property", x.Property, api.StringMatch{})
		out.Descriptors = append(out.Descriptors, model.LimitDescriptor{Condition: c, Key: strings.TrimSpace(x.DescriptorKey)})
	}
	if len(g.Descriptors) == 0 {
		d.Error(document.CodeMissing, at+".descriptors", "say what the service is told", "is missing")
	}
	return out
}
