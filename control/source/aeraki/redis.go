package aeraki

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	api "github.com/weftmesh/weft/api/aeraki/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
)

var readPolicies = []string{"MASTER", "PREFER_MASTER", "REPLICA", "PREFER_REPLICA", "ANY"}

func convertRedisService(d *document.Document) []model.Object {
	spec, err := document.Into[api.RedisServiceSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	out := &model.RedisService{Meta: d.Meta}
	for i, h := range spec.Host {
		out.Hosts = append(out.Hosts, host(d, document.At("spec.host", i), h))
	}
	if len(spec.Host) == 0 {
		d.Error(document.CodeMissing, "spec.host", "name the service", "is missing")
	}
	if s := spec.Settings; s != nil {
		out.Settings = model.RedisSettings{
			IgnoreCase: s.CaseInsensitive, HashTags: s.EnableHashtagging, Redirect: s.EnableRedirection, CommandStats: s.EnableCommandStats,
			OpTimeout: positive(d, "spec.settings.opTimeout", s.OpTimeout), FlushTimeout: positive(d, "spec.settings.bufferFlushTimeout", s.BufferFlushTimeout),
			FlushSize: s.MaxBufferSizeBeforeFlush, UnknownConnections: s.MaxUpstreamUnknownConnections,
			ReadPolicy: oneOf(d, "spec.settings.readPolicy", s.ReadPolicy, readPolicies), Auth: auth(d, "spec.settings.auth", s.Auth),
		}
	}
	seen := map[string]bool{}
	for i := range spec.Redis {
		at := document.At("spec.redis", i)
		r := redisRoute(d, at, &spec.Redis[i])
		if name := strconv.FormatBool(r.Any) + r.Prefix; seen[name] {
			d.Invalid(at+".match.key.prefix", "join the two routes", "another route is for the same keys")
		} else {
			seen[name] = true
		}
		out.Routes = append(out.Routes, r)
	}
	for i := range spec.Faults {
		out.Faults = append(out.Faults, redisFault(d, document.At("spec.faults", i), &spec.Faults[i]))
	}
	return []model.Object{out}
}

func redisRoute(d *document.Document, at string, r *api.RedisRoute) model.RedisRoute {
	out := model.RedisRoute{Any: r.Match == nil || r.Match.Key == nil || r.Match.Key.Prefix == "", To: redisTarget(d, at+".route", r.Route)}
	if !out.Any {
		out.Prefix, out.Strip = r.Match.Key.Prefix, r.Match.Key.RemovePrefix
	}
	for i := range r.Mirror {
		m, at := &r.Mirror[i], document.At(at+".mirror", i)
		out.Mirrors = append(out.Mirrors, model.RedisMirror{
			To: redisTarget(d, at+".route", m.Route), Percent: percent(d, at+".percentage.value", m.Percentage), WritesOnly: m.ExcludeReadCommands,
		})
	}
	return out
}

func redisFault(d *document.Document, at string, f *api.RedisFault) model.RedisFault {
	out := model.RedisFault{
		Error:   oneOf(d, at+".type", f.Type, []string{"DELAY", "ERROR"}) == "ERROR",
		Percent: percent(d, at+".percentage.value", f.Percentage), Delay: positive(d, at+".delay", f.Delay), Commands: f.Commands,
	}
	if !out.Error && out.Delay == 0 {
		d.Error(document.CodeMissing, at+".delay", "say for how long", "is missing")
	}
	return out
}

func convertRedisDestination(d *document.Document) []model.Object {
	spec, err := document.Into[api.RedisDestinationSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	out := &model.RedisDestination{Meta: d.Meta, Host: host(d, "spec.host", spec.Host)}
	if spec.TrafficPolicy == nil || spec.TrafficPolicy.ConnectionPool == nil {
		return []model.Object{out}
	}
	const at = "spec.trafficPolicy.connectionPool"
	if t := spec.TrafficPolicy.ConnectionPool.TCP; t != nil {
		out.Pool = &model.ConnectionPool{MaxConnections: t.MaxConnections, ConnectTimeout: positive(d, at+".tcp.connectTimeout", t.ConnectTimeout)}
		if k := t.TCPKeepalive; k != nil {
			out.Pool.Keepalive = &model.Keepalive{
				Probes: k.Probes, Time: positive(d, at+".tcp.tcpKeepalive.time", k.Time), Interval: positive(d, at+".tcp.tcpKeepalive.interval", k.Interval),
			}
		}
	}
	r := spec.TrafficPolicy.ConnectionPool.Redis
	if r == nil {
		return []model.Object{out}
	}
	out.Cluster = oneOf(d, at+".redis.mode", r.Mode, []string{"PROXY", "CLUSTER"}) == "CLUSTER"
	out.Auth = auth(d, at+".redis.auth", r.Auth)
	for i, e := range r.DiscoveryEndpoints {
		t := model.RedisTarget{Host: e, Port: 6379}
		if h, port, err := net.SplitHostPort(e); err == nil {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				d.Invalid(document.At(at+".redis.discoveryEndpoints", i), "write host:port", "%q is not a port", port)
			}
			t = model.RedisTarget{Host: h, Port: uint16(n)}
		}
		out.Seeds = append(out.Seeds, t)
	}
	return []model.Object{out}
}

func host(d *document.Document, at, h string) string {
	if h == "" {
		d.Error(document.CodeMissing, at, "name the service", "is missing")
		return ""
	}
	d.Host(at, h, false)
	return document.FQDN(h, d.Key.Namespace, istio.Domain)
}

func redisTarget(d *document.Document, at string, t *api.RedisTarget) model.RedisTarget {
	if t == nil {
		d.Error(document.CodeMissing, at, "name the service", "is missing")
		return model.RedisTarget{}
	}
	if t.Port > 65535 {
		d.Invalid(at+".port", "", "%d is not a port", t.Port)
	}
	return model.RedisTarget{Host: host(d, at+".host", t.Host), Port: uint16(t.Port)} //nolint:gosec // checked
}

// auth reads a login.
func auth(d *document.Document, at string, a *api.RedisAuth) *model.RedisAuth {
	switch {
	case a == nil:
		return nil
	case a.Secret != nil && a.Plain != nil:
		d.Invalid(at, "keep one of them", "has both secret and plain")
	case a.Secret != nil:
		if a.Secret.Name == "" {
			d.Error(document.CodeMissing, at+".secret.name", "name a Secret of this namespace", "is missing")
		}
		out := &model.RedisAuth{Secret: a.Secret.Name, PasswordField: a.Secret.PasswordField, UsernameField: a.Secret.UsernameField}
		if out.PasswordField == "" {
			out.PasswordField = "password"
		}
		return out
	case a.Plain != nil:
		if a.Plain.Password == "" {
			d.Error(document.CodeMissing, at+".plain.password", "write the password there, or name a Secret", "is missing")
		}
		return &model.RedisAuth{Username: a.Plain.Username, Password: model.PrivateBytes(a.Plain.Password)}
	}
	d.Error(document.CodeMissing, at, "write secret or plain", "names no password")
	return nil
}

// positive reads a duration; "" is 0.
func positive(d *document.Document, at, text string) time.Duration {
	if text == "" {
		return 0
	}
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		d.Invalid(at, "write one like 5s", "%q is not a positive duration", text)
		return 0
	}
	return v
}

func oneOf(d *document.Document, at, text string, all []string) string {
	if text != "" && !slices.Contains(all, text) {
		d.Invalid(at, "write one of "+strings.Join(all, ", "), "%q is not known", text)
		return ""
	}
	return text
}

// percent is 100 for nothing.
func percent(d *document.Document, at string, p *api.Percent) float64 {
	if p == nil {
		return 100
	}
	if !(p.Value >= 0 && p.Value <= 100) {
		d.Invalid(at, "", "must be 0 to 100, got %v", p.Value)
		return 0
	}
	return p.Value
}
