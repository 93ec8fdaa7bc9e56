package model

import "time"

// KindRedisService and KindRedisDestination are Aeraki's.
const (
	KindRedisService     Kind = "RedisService"
	KindRedisDestination Kind = "RedisDestination"
)

// RedisService says what becomes of commands to some hosts.
type RedisService struct {
	Meta     `json:"meta"`
	Hosts    []string
	Settings RedisSettings
	Routes   []RedisRoute
	Faults   []RedisFault
}

// RedisSettings hold for all routes of a RedisService.
type RedisSettings struct {
	IgnoreCase, HashTags, Redirect, CommandStats bool
	// OpTimeout 0: the default.
	OpTimeout, FlushTimeout time.Duration
	FlushSize               uint32
	UnknownConnections      *uint32
	// ReadPolicy is Envoy's word, "" is MASTER.
	ReadPolicy string
	// Auth is what clients have to know; nil: nothing.
	Auth *RedisAuth
}

// RedisAuth is a login: written out, or in a Secret of the object's namespace.
type RedisAuth struct {
	Username string
	Password PrivateBytes `json:"-"`
	// Secret, when not empty, has both, under these names; without one for the user it is "username" or "token".
	Secret, PasswordField, UsernameField string
}

// RedisRoute is where keys with a prefix are; Any: all that no other route takes.
type RedisRoute struct {
	Any     bool
	Prefix  string
	Strip   bool
	To      RedisTarget
	Mirrors []RedisMirror
}

// RedisTarget is a port of a service; 0: the one that the client has used.
type RedisTarget struct {
	Host string
	Port uint16
}

// RedisMirror gets copies of Percent of the commands.
type RedisMirror struct {
	To         RedisTarget
	Percent    float64
	WritesOnly bool
}

// RedisFault delays commands, or answers them with an error.
type RedisFault struct {
	Error    bool
	Percent  float64
	Delay    time.Duration
	Commands []string
}

// RedisDestination says how the servers of a host are spoken to.
type RedisDestination struct {
	Meta `json:"meta"`
	Host string
	// Pool has the settings of TCP; nil: none.
	Pool *ConnectionPool
	// Cluster: they are a Redis cluster, of which these are asked; none: the service's instances.
	Cluster bool
	Seeds   []RedisTarget
	// Auth is how the proxy logs in; nil: it does not.
	Auth *RedisAuth
}
