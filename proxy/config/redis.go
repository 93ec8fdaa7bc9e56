package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	redisclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/redis/v3"
	redisv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/redis_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/redis"
	"github.com/weftmesh/weft/proxy/redis/command"
)

const redisProxy = "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"

// supportedRedis lists the supported fields of what concerns Redis.
var supportedRedis = strict.Table{
	redisProxy: "stat_prefix settings latency_in_micros=false prefix_routes downstream_auth_password downstream_auth_passwords faults downstream_auth_username",
	// What many clients send at a time leaves together anyway: the two fields of batching add nothing.
	redisProxy + ".ConnPoolSettings": "op_timeout enable_hashtagging enable_redirection max_buffer_size_before_flush buffer_flush_timeout " +
		"max_upstream_unknown_connections enable_command_stats read_policy",
	redisProxy + ".PrefixRoutes":                                           "routes case_insensitive catch_all_route",
	redisProxy + ".PrefixRoutes.Route":                                     "prefix remove_prefix cluster request_mirror_policy key_formatter read_command_policy",
	redisProxy + ".PrefixRoutes.Route.RequestMirrorPolicy":                 "cluster runtime_fraction exclude_read_commands",
	redisProxy + ".PrefixRoutes.Route.ReadCommandPolicy":                   "cluster",
	redisProxy + ".RedisFault":                                             "fault_type fault_enabled delay commands",
	"envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions": "auth_password auth_username",
	"envoy.extensions.clusters.redis.v3.RedisClusterConfig": "cluster_refresh_rate cluster_refresh_timeout redirect_refresh_interval " +
		"redirect_refresh_threshold failure_refresh_threshold",
}

// redisOptionsKey is where a cluster has its RedisProtocolOptions.
const redisOptionsKey = "envoy.filters.network.redis_proxy"

// redisDemand is how long commands wait for a cluster that is asked for.
const redisDemand = 5 * time.Second

// redisProxy makes a proxy for Redis.
func (d *Decoder) redisProxy(a *anypb.Any, cc *chainContext) (filter.Terminal, error) {
	m := &redisv3.RedisProxy{}
	if err := open(a, m); err != nil {
		return nil, err
	}
	s := m.Settings
	c := redis.Config{
		StatPrefix: m.StatPrefix, Stats: d.FilterStats, OpTimeout: duration(s.OpTimeout), HashTags: s.EnableHashtagging, Redirect: s.EnableRedirection,
		Read: redis.ReadPolicy(s.ReadPolicy), CommandStats: s.EnableCommandStats, Unknown: or(s.MaxUpstreamUnknownConnections, 100), IgnoreCase: m.PrefixRoutes.GetCaseInsensitive(),
	}
	for _, o := range d.TCPObservers {
		c.Observers = append(c.Observers, o)
	}
	for i, r := range m.PrefixRoutes.GetRoutes() {
		out, err := d.redisRoute(r)
		if err != nil {
			return nil, at(err, "prefix_routes.routes[%d]", i)
		}
		c.Routes = append(c.Routes, *out)
	}
	var err error
	if r := m.PrefixRoutes.GetCatchAllRoute(); r != nil {
		if c.Default, err = d.redisRoute(r); err != nil {
			return nil, at(err, "prefix_routes.catch_all_route")
		}
	}
	if err := redisUsers(m, &c); err != nil {
		return nil, err
	}
	for i, f := range m.Faults {
		out, err := d.redisFault(f)
		if err != nil {
			return nil, at(err, "faults[%d]", i)
		}
		c.Faults = append(c.Faults, out)
	}
	if d.AskCluster != nil && !d.StateOfTheWorld {
		c.Ask = func(name string, wake func(filter.Outcome)) (filter.Outcome, func() bool) {
			return d.AskCluster(name, redisDemand, wake)
		}
	}
	p, err := redis.New(d.Redis, d.Clusters, c)
	if err != nil {
		return nil, err
	}
	cc.clusters = append(cc.clusters, p.Clusters()...)
	return p, nil
}

func (d *Decoder) redisRoute(m *redisv3.RedisProxy_PrefixRoutes_Route) (*redis.Route, error) {
	r := &redis.Route{Prefix: m.Prefix, Strip: m.RemovePrefix, Format: m.KeyFormatter, Cluster: m.Cluster, Reads: m.GetReadCommandPolicy().GetCluster()}
	if strings.Contains(strings.ReplaceAll(r.Format, "%KEY%", ""), "%") {
		return nil, at(fmt.Errorf("%q: only %%KEY%% is supported", r.Format), "key_formatter")
	}
	for _, p := range m.RequestMirrorPolicy {
		r.Mirrors = append(r.Mirrors, redis.Mirror{Cluster: p.Cluster, Fraction: d.runtimeFraction(p.RuntimeFraction), WritesOnly: p.ExcludeReadCommands})
	}
	return r, nil
}

// redisUsers reads what clients have to know.
func redisUsers(m *redisv3.RedisProxy, c *redis.Config) error {
	sources := m.DownstreamAuthPasswords
	if m.DownstreamAuthPassword != nil { //nolint:staticcheck // deprecated, but what people write
		sources = append(sources[:len(sources):len(sources)], m.DownstreamAuthPassword) //nolint:staticcheck // as above
	}
	for i, s := range sources {
		b, err := match.Data(s)
		if err != nil {
			return at(err, "downstream_auth_passwords[%d]", i)
		}
		if len(b) > 0 { // Envoy takes an empty one for none
			c.Passwords = append(c.Passwords, string(b))
		}
	}
	user, err := match.Data(m.DownstreamAuthUsername)
	c.User = string(user)
	if err == nil && c.User != "" && len(c.Passwords) == 0 {
		err = errors.New("needs a password")
	}
	return at(err, "downstream_auth_username")
}

func (d *Decoder) redisFault(m *redisv3.RedisProxy_RedisFault) (redis.Fault, error) {
	f := redis.Fault{Error: m.FaultType == redisv3.RedisProxy_RedisFault_ERROR, Delay: duration(m.Delay)}
	if m.FaultEnabled.GetDefaultValue() == nil {
		return f, at(errors.New("is missing"), "fault_enabled.default_value")
	}
	f.Fraction = *d.runtimeFraction(m.FaultEnabled)
	if err := f.Fraction.Check(); err != nil {
		return f, at(err, "fault_enabled")
	}
	for i, name := range m.Commands {
		if !command.Known(name) {
			return f, at(fmt.Errorf("%q is no command of Redis that is known here", name), "commands[%d]", i)
		}
		f.Commands = append(f.Commands, command.Find([]byte(name)))
	}
	return f, nil
}

// redisLogin reads how the servers of a cluster are logged in to.
func redisLogin(a *anypb.Any, s *cluster.Spec) error {
	m := &redisv3.RedisProtocolOptions{}
	if err := unpack(a, m); err != nil {
		return err
	}
	password, err := match.Data(m.AuthPassword)
	if err != nil {
		return at(err, "auth_password")
	}
	user, err := match.Data(m.AuthUsername)
	if err != nil {
		return at(err, "auth_username")
	}
	if len(password) > 0 || len(user) > 0 {
		s.Redis = &cluster.RedisLogin{User: string(user), Password: string(password)}
	}
	return nil
}

// redisCluster reads a cluster of which the servers themselves say who has what.
func redisCluster(m *redisclusterv3.RedisClusterConfig, s *cluster.Spec) {
	s.Type = cluster.Discovered
	s.Discovery = redis.NewTopology(redis.ClusterConfig{
		Every: duration(m.ClusterRefreshRate), Timeout: duration(m.ClusterRefreshTimeout), Interval: duration(m.RedirectRefreshInterval),
		Redirections: or(m.RedirectRefreshThreshold, 5), Failures: m.FailureRefreshThreshold,
	})
}

// withoutRedis is a chain without what its proxy for Redis takes over while it serves: connections need not end for it.
func withoutRedis(m *listenerv3.FilterChain) *listenerv3.FilterChain {
	if n := len(m.Filters); n > 0 && m.Filters[n-1].GetTypedConfig().MessageIs(&redisv3.RedisProxy{}) {
		c := proto.Clone(m).(*listenerv3.FilterChain)
		c.Filters[n-1].ConfigType = nil
		c.Filters[n-1].Name = redisProxy
		return c
	}
	return m
}
