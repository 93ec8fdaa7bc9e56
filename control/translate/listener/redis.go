package listener

import (
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	redisv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/redis_proxy/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// CodeRedis is of Findings about RedisService: something it names is not there, or an engine lacks something.
const CodeRedis = "WEFT0360"

// defaultOpTimeout is how long a server of Redis may take.
const defaultOpTimeout = 5 * time.Second

// redisPort tells whether the proxy reads the commands to a port.
func (b *Builder) redisPort(s *model.Service, p *model.ServicePort) bool {
	return b.v.Index.ProxiesRedis(b.v.Proxy.Engine(), s, p)
}

// redis adds the chain of a service's port whose clients speak Redis.
func (o *outboundSet) redis(d *draft, s *model.Service, p *model.ServicePort) {
	var match *listenerv3.FilterChainMatch
	if r := ranges(s); d.addr == "" && len(r) > 0 {
		match = &listenerv3.FilterChainMatch{PrefixRanges: r}
	}
	filters := append(o.streamStats(outbound), filter("envoy.filters.network.redis_proxy", o.redisProxy(s, p)))
	o.addChain(d, s, match, filters)
}

// redisProxy is what becomes of the commands to a port.
func (b *Builder) redisProxy(s *model.Service, p *model.ServicePort) *redisv3.RedisProxy {
	own := wire.ClusterName(wire.Outbound, p.Port, "", s.Host)
	spec := b.v.Index.Redis(s.Host)
	if spec == nil {
		spec = &model.RedisService{}
	}
	set := &spec.Settings
	out := &redisv3.RedisProxy{
		StatPrefix: own,
		Settings: &redisv3.RedisProxy_ConnPoolSettings{
			OpTimeout: pb.Duration(defaultOpTimeout), EnableHashtagging: set.HashTags, EnableRedirection: set.Redirect, EnableCommandStats: set.CommandStats,
			MaxBufferSizeBeforeFlush: set.FlushSize, ReadPolicy: readPolicy(set.ReadPolicy),
		},
		PrefixRoutes: &redisv3.RedisProxy_PrefixRoutes{CaseInsensitive: set.IgnoreCase},
	}
	if set.OpTimeout > 0 {
		out.Settings.OpTimeout = pb.Duration(set.OpTimeout)
	}
	if set.FlushTimeout > 0 {
		out.Settings.BufferFlushTimeout = pb.Duration(set.FlushTimeout)
	}
	if n := set.UnknownConnections; n != nil {
		out.Settings.MaxUpstreamUnknownConnections = wrapperspb.UInt32(*n)
	}
	if d := b.v.Index.RedisDestination(s.Host); d != nil && d.Cluster {
		out.Settings.EnableHashtagging, out.Settings.EnableRedirection = true, true // a Redis cluster is of no use without
	}
	b.redisRoutes(out.PrefixRoutes, spec, p)
	if len(spec.Routes) == 0 {
		out.PrefixRoutes.CatchAllRoute = &redisv3.RedisProxy_PrefixRoutes_Route{Cluster: own}
	}
	if set.Auth != nil {
		b.redisUsers(out, spec)
	}
	for _, f := range spec.Faults {
		kind := redisv3.RedisProxy_RedisFault_DELAY
		if f.Error {
			kind = redisv3.RedisProxy_RedisFault_ERROR
		}
		fault := &redisv3.RedisProxy_RedisFault{FaultType: kind, FaultEnabled: pb.RuntimeFraction(f.Percent), Commands: f.Commands}
		if f.Delay > 0 {
			fault.Delay = pb.Duration(f.Delay)
		}
		out.Faults = append(out.Faults, fault)
	}
	if spec.Key.Name != "" && b.v.Proxy.Engine() != scope.EngineGo {
		b.redisFinding(spec, model.Info, "spec.host", "sidecars with Envoy refuse what its redis_proxy does not carry: subscriptions, commands that wait, RESP3",
			"use the own engine for clients that need them")
	}
	return out
}

func (b *Builder) redisRoutes(out *redisv3.RedisProxy_PrefixRoutes, spec *model.RedisService, p *model.ServicePort) {
	for i := range spec.Routes {
		r, at := &spec.Routes[i], fmt.Sprintf("spec.redis[%d]", i)
		route := &redisv3.RedisProxy_PrefixRoutes_Route{Prefix: r.Prefix, RemovePrefix: r.Strip, Cluster: b.redisTarget(spec, at+".route", &r.To, p)}
		for k := range r.Mirrors {
			m := &r.Mirrors[k]
			route.RequestMirrorPolicy = append(route.RequestMirrorPolicy, &redisv3.RedisProxy_PrefixRoutes_Route_RequestMirrorPolicy{
				Cluster: b.redisTarget(spec, fmt.Sprintf("%s.mirror[%d].route", at, k), &m.To, p), RuntimeFraction: pb.RuntimeFraction(m.Percent), ExcludeReadCommands: m.WritesOnly,
			})
		}
		if r.Any {
			out.CatchAllRoute = route
		} else {
			out.Routes = append(out.Routes, route)
		}
	}
}

// redisTarget is the cluster of a destination.
func (b *Builder) redisTarget(spec *model.RedisService, at string, t *model.RedisTarget, p *model.ServicePort) string {
	port := t.Port
	if port == 0 {
		port = p.Port
	}
	if s := b.v.Service(t.Host); s == nil || s.Port(port) == nil {
		b.redisFinding(spec, model.Error, at+".host", fmt.Sprintf("the proxy sees no port %d of %s", port, t.Host), "name a service and a port that it has")
		return wire.BlackHoleCluster
	}
	return wire.ClusterName(wire.Outbound, port, "", t.Host)
}

// redisUsers says what clients have to know. Without the Secret nobody comes in.
func (b *Builder) redisUsers(out *redisv3.RedisProxy, spec *model.RedisService) {
	user, password, ok := b.v.Index.RedisLogin(spec.Key.Namespace, spec.Settings.Auth)
	if !ok {
		b.redisFinding(spec, model.Error, "spec.settings.auth.secret", "the Secret is not there, or has no value of that name: no client can log in",
			"put a Secret with the field "+spec.Settings.Auth.PasswordField+" into namespace "+spec.Key.Namespace)
		out.PrefixRoutes = &redisv3.RedisProxy_PrefixRoutes{CatchAllRoute: &redisv3.RedisProxy_PrefixRoutes_Route{Cluster: wire.BlackHoleCluster}}
		return
	}
	text := func(s string) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}
	}
	out.DownstreamAuthPasswords = []*corev3.DataSource{text(password)}
	if user != "" {
		out.DownstreamAuthUsername = text(user)
	}
}

func (b *Builder) redisFinding(spec *model.RedisService, severity model.Severity, field, message, remedy string) {
	f := model.Finding{Code: CodeRedis, Severity: severity, Object: spec.Key, Field: field, Message: message, Remedy: remedy}
	f.Origin = spec.At(field)
	b.report(f)
}

// readPolicy is Envoy's form of Aeraki's words.
func readPolicy(s string) redisv3.RedisProxy_ConnPoolSettings_ReadPolicy {
	return redisv3.RedisProxy_ConnPoolSettings_ReadPolicy(redisv3.RedisProxy_ConnPoolSettings_ReadPolicy_value[strings.ToUpper(s)])
}
