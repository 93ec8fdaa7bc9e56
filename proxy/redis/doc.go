// Package redis is the terminal filter for Redis (Envoy's redis_proxy): it reads the commands of each client, chooses
// a cluster by the keys' prefix and a server by the key, and puts the answers back into the order of the commands.
//
// # Threads
//
// Every event loop of the I/O host has one worker: an executor that all connections of the loop run on, those of
// clients and those to servers. So nothing here needs a lock, and the commands that many clients have sent in one
// batch of events leave in one write. Each worker has its own connections to each server, and clients share them; only a
// transaction, a command that waits and a subscription have a connection of their own for as long as they need one.
//
// # Guarantees
//
// Answers come in the order of the commands. Commands of one client reach a server in their order. A command that needs a connection
// of its own begins when all before it have been answered, and those behind it wait. Nothing is allocated per command
// in the steady state.
//
// # What it does not do
//
// A command and an answer are passed on when they are whole. A write is never sent twice, unless the server has
// said that it belongs elsewhere.
package redis

import (
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/route"
)

// ReadPolicy says which servers of a shard answer reads.
type ReadPolicy uint8

// Read policies.
const (
	Master ReadPolicy = iota
	PreferMaster
	Replica
	PreferReplica
	Any
)

// Observer is told about connections of clients, for metrics, as proxy/tcp tells its own.
type Observer interface {
	ConnOpened(i *filter.ConnInfo)
	ConnClosed(i *filter.ConnInfo)
}

// Config of a Proxy. Immutable.
type Config struct {
	StatPrefix string
	// Stats keeps what is counted, nil: nobody reads it.
	Stats *filter.Stats
	// Routes by the keys' prefix, the longest wins; Default is for all other keys, and for commands without keys. nil: there is none.
	Routes     []Route
	Default    *Route
	IgnoreCase bool
	// OpTimeout is how long a server may take for each answer.
	OpTimeout time.Duration
	// HashTags: only what stands in the first {} of a key counts for the choice of a server.
	HashTags bool
	// Redirect follows MOVED and ASK.
	Redirect bool
	// Unknown is how many servers that are not part of a Redis cluster yet redirections may lead to.
	Unknown uint32
	Read    ReadPolicy
	// CommandStats counts commands for each cluster too.
	CommandStats bool
	// Passwords, any of which clients must know; none: they need not log in. User "": they need no name either.
	Passwords []string
	User      string
	Faults    []Fault
	Observers []Observer
	// Ask, when set, asks for a cluster that is not there (on-demand CDS), as proxy/tcp's does.
	Ask func(cluster string, wake func(filter.Outcome)) (o filter.Outcome, cancel func() bool)
}

// Route is where commands with some keys go.
type Route struct {
	Prefix string
	// Strip takes the prefix off; Format, when not empty, is what a key becomes: %KEY% stands for it.
	Strip  bool
	Format string
	// Cluster that the keys are in; Reads, when not empty, is the one for commands that only read.
	Cluster, Reads string
	Mirrors        []Mirror
}

// Mirror is a cluster that is sent copies of commands.
type Mirror struct {
	Cluster string
	// Fraction of them; nil: all.
	Fraction *route.Fraction
	// WritesOnly leaves out those that read.
	WritesOnly bool
}

// Fault is what clients are made to suffer.
type Fault struct {
	// Error answers with an error, after Delay.
	Error    bool
	Delay    time.Duration
	Fraction route.Fraction
	// Commands that it is for; none: all but those that the proxy answers itself.
	Commands []*command.Command
}
