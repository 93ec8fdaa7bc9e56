// Package command knows the commands of Redis: what each of them is for a proxy, and where its keys are.
//
// A command that the table does not have (of a module, or of a newer server) writes, and has its first
// argument for a key.
package command

import (
	"strconv"
	"strings"
)

// Class says how a command is carried.
type Class uint8

// Classes.
const (
	// Keyed goes where its keys are.
	Keyed Class = iota
	// Sum, Values and Pairs may be split by key; the integers are added, the values put in order, the
	// answers of pairs (MSET) are one OK.
	Sum
	Values
	Pairs
	// Keyless goes to any server of the route.
	Keyless
	// AllSum, AllOK and AllJoin go to all servers; the integers are added, one answer stands for all, the arrays are joined.
	AllSum
	AllOK
	AllJoin
	// Scan goes to one server after the other.
	Scan
	// Blocking has a connection of its own as long as it waits.
	Blocking
	// Begin, Commit, Rollback, Watch and Unwatch are those of transactions.
	Begin
	Commit
	Rollback
	Watch
	Unwatch
	// Subscribe and Unsubscribe change what a client listens to.
	Subscribe
	Unsubscribe
	// Publish goes where subscriptions go.
	Publish
	// Local is answered by the proxy.
	Local
	// Refused would change or show a server in a way that no client of many may.
	Refused
)

// Command is one of the table.
type Command struct {
	// Name in upper case, Stat in lower.
	Name, Stat string
	// ID is its place among All.
	ID int
	// Arity counts the name; negative: at least.
	Arity int
	Class Class
	// Read and Write of keys.
	Read, Write bool

	first, last, step int
	count             int // where the number of keys is; 0: nowhere
	streams           bool
}

// All are the commands, Other the last of them: what the table does not have.
var (
	All, byName = load()
	Other       = All[len(All)-1]
)

// longest is the length of the longest name.
const longest = 24

var classes = map[Class]string{
	Sum: "del exists touch unlink", Values: "mget", Pairs: "mset",
	Keyless: "info time lastsave randomkey config slowlog memory latency command lolwut role pubsub",
	AllSum:  "dbsize", AllOK: "flushall flushdb script function", AllJoin: "keys", Scan: "scan",
	Blocking: "blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin",
	Begin:    "multi", Commit: "exec", Rollback: "discard", Watch: "watch", Unwatch: "unwatch",
	Subscribe: "subscribe psubscribe ssubscribe", Unsubscribe: "unsubscribe punsubscribe sunsubscribe", Publish: "publish",
	Local: "ping echo auth hello quit select client readonly readwrite reset",
	Refused: "acl asking bgrewriteaof bgsave cluster debug failover migrate module monitor move pfdebug pfselftest psync replconf replicaof restore-asking " +
		"save shutdown slaveof swapdb sync wait waitaof",
}

func load() (all []*Command, byName map[string]*Command) {
	byName = map[string]*Command{}
	class := map[string]Class{}
	for c, names := range classes {
		for n := range strings.FieldsSeq(names) {
			class[n] = c
		}
	}
	for line := range strings.Lines(strings.TrimSpace(table)) {
		f := strings.Fields(line)
		c := &Command{Stat: f[0], Arity: atoi(f[1]), Read: f[2] == "r", Write: f[2] == "w", last: atoi(f[4]), step: atoi(f[5])}
		switch before, after, counted := strings.Cut(f[3], "n"); {
		case f[3] == "s":
			c.streams = true
		case counted:
			c.first, c.count = atoi("0"+before), atoi(after)
		default:
			c.first = atoi(f[3])
		}
		c.Name, c.ID, c.Class = strings.ToUpper(c.Stat), len(all), class[c.Stat]
		all = append(all, c)
		byName[c.Name] = c
	}
	return append(all, &Command{Name: "OTHER", Stat: "other", ID: len(all), Arity: -1, Write: true, first: 1, last: 1, step: 1}), byName
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic("BUG: table of commands: " + err.Error())
	}
	return n
}

// Find returns the command of that name, in any case; Other for an unknown one.
func Find(name []byte) *Command {
	var buf [longest]byte
	if len(name) > len(buf) {
		return Other
	}
	for i, c := range name {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		buf[i] = c
	}
	if c := byName[string(buf[:len(name)])]; c != nil {
		return c
	}
	return Other
}

// Known tells whether there is a command of that name.
func Known(name string) bool { return Find([]byte(name)) != Other }

// Fits tells whether a command may have that many words.
func (c *Command) Fits(n int) bool { return n == c.Arity || c.Arity < 0 && n >= -c.Arity }

// Keys are the places of keys in a command's words: First, First+Step and so on up to Last, and Extra, unless that is 0.
type Keys struct{ First, Last, Step, Extra int }

// Keys finds the keys among n words.
func (c *Command) Keys(n int, arg func(int) []byte) Keys {
	switch {
	case c.streams:
		return streams(n, arg)
	case c.count > 0:
		return counted(c, n, arg)
	case c.first == 0 || c.first >= n:
		return Keys{}
	}
	last := c.last
	if last < 0 {
		last += n
	}
	return Keys{First: c.first, Last: min(last, n-1), Step: max(c.step, 1)}
}

// counted finds keys that a number stands before.
func counted(c *Command, n int, arg func(int) []byte) Keys {
	k := Keys{Extra: c.first}
	if c.count >= n {
		return k
	}
	m, err := strconv.Atoi(string(arg(c.count)))
	if err != nil || m <= 0 || m >= n-c.count {
		return k
	}
	k.First, k.Last, k.Step = c.count+1, c.count+m, 1
	return k
}

// streams finds the keys of XREAD.
func streams(n int, arg func(int) []byte) Keys {
	for i := 1; i < n; i++ {
		if strings.EqualFold(string(arg(i)), "streams") {
			if m := (n - i - 1) / 2; m > 0 {
				return Keys{First: i + 1, Last: i + m, Step: 1}
			}
			break
		}
	}
	return Keys{}
}

// Blocks tells whether this command may wait: the classes do not know it of XREAD.
func (c *Command) Blocks(n int, arg func(int) []byte) bool {
	if c.Class == Blocking {
		return true
	}
	if !c.streams {
		return false
	}
	for i := 1; i < n; i++ {
		switch w := arg(i); {
		case strings.EqualFold(string(w), "block"):
			return true
		case strings.EqualFold(string(w), "streams"):
			return false
		}
	}
	return false
}
