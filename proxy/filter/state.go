package filter

import (
	"maps"
	"slices"
)

// Keys of filter state that the data plane itself asks for, Envoy's names.
const (
	// StateTCPCluster is where tcp_proxy sends a connection.
	StateTCPCluster = "envoy.tcp_proxy.cluster"
	// StateNoTunnel, when "true", makes tcp_proxy go without its tunnel.
	StateNoTunnel = "envoy.tcp_proxy.disable_tunneling"
	// StateTCPIdle is tcp_proxy's idle timeout in milliseconds.
	StateTCPIdle = "envoy.tcp_proxy.per_connection_idle_timeout_ms"
	// StateServerName, StateSANs and StateALPN are for the TLS connection to the
	// upstream host: its name, names of which its certificate must have one, and the
	// protocols that are offered. The latter two are lists with commas.
	StateServerName = "envoy.network.upstream_server_name"
	StateSANs       = "envoy.network.upstream_subject_alt_names"
	StateALPN       = "envoy.network.application_protocols"
	// StateHost and StatePort replace what a dynamic forward proxy looks up.
	StateHost = "envoy.upstream.dynamic_host"
	StatePort = "envoy.upstream.dynamic_port"
	// StateOriginalLocal and StateOriginalRemote are the addresses that the listener
	// filter original_dst gives to a connection of an internal listener.
	StateOriginalLocal  = "envoy.filters.listener.original_dst.local_ip"
	StateOriginalRemote = "envoy.filters.listener.original_dst.remote_ip"
)

// Sharing says how far an object of filter state goes on, to connections of
// internal listeners.
type Sharing uint8

// Ways of sharing.
const (
	ShareNone Sharing = iota
	// ShareOnce: to the next connection, and no further.
	ShareOnce
	// ShareTransitive: to the next, and on from there.
	ShareTransitive
)

// Shared is an object that goes on to a connection of an internal listener.
type Shared struct {
	Key   string
	Value any
	How   Sharing
}

// next is how it is shared where it arrives.
func (s Shared) next() Shared {
	if s.How == ShareOnce {
		s.How = ShareNone
	}
	return s
}

// Object is what filter state has under a key; nil: nothing.
func (c *ConnInfo) Object(key string) any { return c.Objects[key] }

// Text is the object under a key where that is a string; "" otherwise.
func (c *ConnInfo) Text(key string) string {
	s, _ := c.Objects[key].(string)
	return s
}

// SetObject puts an object into the connection's filter state. It replaces the
// map: who logs while the connection lasts may hold the old one.
func (c *ConnInfo) SetObject(o Shared) {
	all := make(map[string]any, len(c.Objects)+1)
	maps.Copy(all, c.Objects)
	all[o.Key] = o.Value
	c.Objects = all
	c.Shared = share(c.Shared, o)
}

// Inherit takes over what a connection to an internal listener brings along.
func (c *ConnInfo) Inherit(list []Shared) {
	for _, o := range list {
		c.SetObject(o.next())
	}
}

// Fields is an object of filter state with fields of its own, by name. It is not changed.
type Fields map[string]string

// Object is what filter state has under a key, the request's or the
// connection's; nil: nothing.
func (i *Info) Object(key string) any {
	if v, ok := i.FilterState[key]; ok {
		return v
	}
	if i.Conn == nil {
		return nil
	}
	return i.Conn.Objects[key]
}

// Text is the object under a key where that is a string; "" otherwise.
func (i *Info) Text(key string) string {
	s, _ := i.Object(key).(string)
	return s
}

// HasObjects tells whether there is any: most requests have none.
func (i *Info) HasObjects() bool {
	return len(i.FilterState) > 0 || i.Conn != nil && len(i.Conn.Objects) > 0
}

// SetObject puts an object into the request's filter state.
func (i *Info) SetObject(o Shared) {
	if i.FilterState == nil {
		i.FilterState = map[string]any{}
	}
	i.FilterState[o.Key] = o.Value
	i.Shared = share(i.Shared, o)
}

// AllShared are the objects that go on with a connection upstream: the
// request's, and those of its connection that it does not have.
func (i *Info) AllShared() []Shared {
	if i.Conn == nil || len(i.Conn.Shared) == 0 {
		return i.Shared
	}
	out := slices.Clone(i.Shared)
	for _, o := range i.Conn.Shared {
		if _, own := i.FilterState[o.Key]; !own {
			out = append(out, o)
		}
	}
	return out
}

// share enters an object into a list, which it does not change: requests share it.
func share(list []Shared, o Shared) []Shared {
	at := slices.IndexFunc(list, func(x Shared) bool { return x.Key == o.Key })
	if at < 0 && o.How == ShareNone {
		return list
	}
	list = slices.Clone(list)
	switch {
	case at < 0:
		return append(list, o)
	case o.How == ShareNone:
		return slices.Delete(list, at, at+1)
	}
	list[at] = o
	return list
}
