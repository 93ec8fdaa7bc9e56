package v1alpha1

// RedisGroup is the group of RedisService and RedisDestination.
const RedisGroup = "redis.aeraki.io"

// RedisServiceSpec says what becomes of the commands that clients send to a Redis.
type RedisServiceSpec struct {
	// Host are the services, as clients name them.
	Host     []string       `json:"host"`
	Settings *RedisSettings `json:"settings,omitempty"`
	// Redis are the routes; one without a match takes what no other does.
	Redis  []RedisRoute `json:"redis,omitempty"`
	Faults []RedisFault `json:"faults,omitempty"`
}

// RedisSettings of all routes. Durations are like "5s".
type RedisSettings struct {
	// CaseInsensitive is for the prefixes of routes.
	CaseInsensitive    bool   `json:"caseInsensitive,omitempty"`
	OpTimeout          string `json:"opTimeout,omitempty"`
	EnableCommandStats bool   `json:"enableCommandStats,omitempty"`
	EnableHashtagging  bool   `json:"enableHashtagging,omitempty"`
	EnableRedirection  bool   `json:"enableRedirection,omitempty"`
	BufferFlushTimeout string `json:"bufferFlushTimeout,omitempty"`
	// MaxBufferSizeBeforeFlush in bytes.
	MaxBufferSizeBeforeFlush      uint32  `json:"maxBufferSizeBeforeFlush,omitempty"`
	MaxUpstreamUnknownConnections *uint32 `json:"maxUpstreamUnknownConnections,omitempty"`
	// ReadPolicy is MASTER, PREFER_MASTER, REPLICA, PREFER_REPLICA or ANY.
	ReadPolicy string     `json:"readPolicy,omitempty"`
	Auth       *RedisAuth `json:"auth,omitempty"`
}

// RedisAuth is a password; one of the two.
type RedisAuth struct {
	Secret *RedisSecret `json:"secret,omitempty"`
	Plain  *RedisPlain  `json:"plain,omitempty"`
}

// RedisSecret names a Secret of the object's namespace; its fields are "password" and "username" unless others are named.
type RedisSecret struct {
	Name          string `json:"name"`
	PasswordField string `json:"passwordField,omitempty"`
	UsernameField string `json:"usernameField,omitempty"`
}

// RedisPlain is a password as it is.
type RedisPlain struct {
	Password string `json:"password"`
	Username string `json:"username,omitempty"`
}

// RedisRoute is where keys with a prefix are.
type RedisRoute struct {
	Match  *RedisMatch   `json:"match,omitempty"`
	Route  *RedisTarget  `json:"route"`
	Mirror []RedisMirror `json:"mirror,omitempty"`
}

// RedisMatch is true for some keys.
type RedisMatch struct {
	Key *RedisKey `json:"key,omitempty"`
}

// RedisKey is a prefix, which may be taken off.
type RedisKey struct {
	Prefix       string `json:"prefix,omitempty"`
	RemovePrefix bool   `json:"removePrefix,omitempty"`
}

// RedisTarget is a port of a service; without one, the port that clients have used.
type RedisTarget struct {
	Host string `json:"host"`
	Port uint32 `json:"port,omitempty"`
}

// RedisMirror gets copies of commands (default: of all).
type RedisMirror struct {
	Route               *RedisTarget `json:"route"`
	Percentage          *Percent     `json:"percentage,omitempty"`
	ExcludeReadCommands bool         `json:"excludeReadCommands,omitempty"`
}

// RedisFault is what clients are made to suffer: DELAY or ERROR.
type RedisFault struct {
	Type       string   `json:"type,omitempty"`
	Percentage *Percent `json:"percentage,omitempty"`
	Delay      string   `json:"delay,omitempty"`
	Commands   []string `json:"commands,omitempty"`
}

// RedisDestinationSpec says how servers are spoken to.
type RedisDestinationSpec struct {
	Host          string              `json:"host"`
	TrafficPolicy *RedisTrafficPolicy `json:"trafficPolicy,omitempty"`
}

// RedisTrafficPolicy of a destination.
type RedisTrafficPolicy struct {
	ConnectionPool *RedisConnectionPool `json:"connectionPool,omitempty"`
}

// RedisConnectionPool of a destination.
type RedisConnectionPool struct {
	TCP   *RedisTCP      `json:"tcp,omitempty"`
	Redis *RedisPoolMode `json:"redis,omitempty"`
}

// RedisTCP are Istio's settings of TCP.
type RedisTCP struct {
	MaxConnections uint32          `json:"maxConnections,omitempty"`
	ConnectTimeout string          `json:"connectTimeout,omitempty"`
	TCPKeepalive   *RedisKeepalive `json:"tcpKeepalive,omitempty"`
}

// RedisKeepalive is Istio's TcpKeepalive.
type RedisKeepalive struct {
	Probes   uint32 `json:"probes,omitempty"`
	Time     string `json:"time,omitempty"`
	Interval string `json:"interval,omitempty"`
}

// RedisPoolMode is PROXY, servers among which keys are shared out, or CLUSTER, a Redis cluster, which tells itself who
// has which key.
type RedisPoolMode struct {
	Mode string     `json:"mode,omitempty"`
	Auth *RedisAuth `json:"auth,omitempty"`
	// DiscoveryEndpoints ("host:port") are who is asked; none: the service's instances.
	DiscoveryEndpoints []string `json:"discoveryEndpoints,omitempty"`
}
