package redis

import (
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

// serverVersion is what HELLO says: the one whose commands the proxy knows.
const serverVersion = "7.0.0"

// beforeLogin tells whether a client that has not logged in may send a command.
func beforeLogin(c *command.Command) bool {
	switch c.Stat {
	case "auth", "hello", "quit", "reset":
		return true
	}
	return false
}

// local answers the command at hand without a server.
func (d *down) local(c *command.Command) bool {
	if d.own.multi && c.Stat != "quit" && c.Stat != "reset" {
		switch c.Stat {
		case "ping", "echo":
			return d.inTransaction(c)
		}
		d.own.dirty = true
		d.fail("ERR '" + c.Stat + "' is not available in a transaction through the proxy")
		return true
	}
	n := d.parser.N()
	switch c.Stat {
	case "ping":
		d.ping(n)
	case "echo":
		d.w.scratch = resp.AppendBulk(d.w.scratch[:0], d.arg(1))
		d.reply(d.w.scratch)
	case "quit":
		d.simple("OK")
		d.quit()
	case "reset":
		d.reset()
	case "auth":
		d.auth(n)
	case "hello":
		d.hello(n)
	case "select":
		d.selectDB()
	case "client":
		d.client(n)
	default: // READONLY, READWRITE: the read policy is the proxy's
		d.simple("OK")
	}
	return true
}

func (d *down) ping(n int) {
	switch {
	case n == 1:
		d.simple("PONG")
	case n == 2:
		d.w.scratch = resp.AppendBulk(d.w.scratch[:0], d.arg(1))
		d.reply(d.w.scratch)
	default:
		d.fail("ERR wrong number of arguments for 'ping' command")
	}
}

func (d *down) reset() {
	d.dropOwn()
	if d.relay != nil {
		d.relay.up.relay = nil
		d.relay.up.end("")
		d.relay = nil
	}
	d.proto, d.db, d.name, d.authed = 2, 0, nil, !d.cfg.asks()
	d.simple("RESET")
}

func (d *down) auth(n int) {
	switch {
	case n > 3:
		d.fail("ERR syntax error")
	case !d.cfg.asks():
		user, password := "", string(d.arg(n-1))
		if n == 3 {
			user = string(d.arg(1))
		}
		d.passLogin(user, password)
	case n == 3 && d.login(d.arg(1), d.arg(2), true), n == 2 && d.login(nil, d.arg(1), false):
		d.simple("OK")
	default:
		d.fail("WRONGPASS invalid username-password pair")
	}
}

// passLogin asks a server whether a login is right, and keeps it for what follows: connections with it are shared by all
// clients that have it.
func (d *down) passLogin(user, password string) {
	to, fail := d.anywhere(command.Find([]byte("PING")))
	if fail == "" && to.cluster.Spec().Redis != nil || password == "" {
		d.fail("ERR Client sent AUTH, but no password is set")
		return
	}
	beforeUser, beforePassword := d.user, d.password
	d.user, d.password = user, password
	r := d.enqueue(command.Find([]byte("AUTH")))
	r.left, r.own, d.held = 1, true, true
	r.add(to)
	r.after = func(d *down, reply []byte) {
		if !resp.IsError(reply) {
			r.reply = append(r.reply[:0], "+OK\r\n"...)
			return
		}
		d.user, d.password = beforeUser, beforePassword
		if text, ok := strings.CutPrefix(string(resp.ErrorText(reply)), "ERR "+refusedLogin); ok {
			r.reply = resp.AppendError(r.reply[:0], text)
		}
	}
	if fail != "" {
		r.fail(0, fail)
		return
	}
	d.dispatch(r, 0, ping)
}

var ping = resp.AppendCommand(nil, "PING")

// login checks who the client says it is.
func (d *down) login(user, password []byte, named bool) bool {
	if !d.cfg.knows(user, password, named) {
		return false
	}
	d.authed = true
	return true
}

// hello begins a connection, perhaps with RESP3.
func (d *down) hello(n int) {
	proto := d.proto
	i := 1
	if n > 1 {
		v, err := strconv.Atoi(string(d.arg(1)))
		if err != nil || v != 2 && v != 3 {
			d.fail("NOPROTO unsupported protocol version")
			return
		}
		proto = uint8(v)
		i = 2
	}
	name := d.name
	for i < n {
		switch word := strings.ToLower(string(d.arg(i))); {
		case word == "auth" && i+2 < n:
			if !d.cfg.asks() || !d.login(d.arg(i+1), d.arg(i+2), true) {
				d.fail("WRONGPASS invalid username-password pair or user is disabled.")
				return
			}
			i += 3
		case word == "setname" && i+1 < n:
			name = append([]byte(nil), d.arg(i+1)...)
			i += 2
		default:
			d.fail("ERR Syntax error in HELLO option '" + word + "'")
			return
		}
	}
	if !d.authed {
		d.fail("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	d.proto, d.name = proto, name
	out := resp.Array(d.w.scratch[:0], 14)
	if proto == 3 {
		out = resp.Head(d.w.scratch[:0], '%', 7)
	}
	out = resp.AppendText(resp.AppendText(out, "server"), "redis")
	out = resp.AppendText(resp.AppendText(out, "version"), serverVersion)
	out = resp.AppendInt(resp.AppendText(out, "proto"), int(proto))
	out = resp.AppendInt(resp.AppendText(out, "id"), int(d.info.ID))
	out = resp.AppendText(resp.AppendText(out, "mode"), "standalone")
	out = resp.AppendText(resp.AppendText(out, "role"), "master")
	out = resp.Array(resp.AppendText(out, "modules"), 0)
	d.w.scratch = out
	d.reply(out)
}

// mostDBs bounds the numbers of databases: each has connections of its own.
const mostDBs = 64

// selectDB chooses a database; whether a server has it is seen when the next command gets there.
func (d *down) selectDB() {
	db, err := strconv.Atoi(string(d.arg(1)))
	switch {
	case err != nil:
		d.fail("ERR value is not an integer or out of range")
	case db < 0 || db >= mostDBs:
		d.fail("ERR DB index is out of range")
	default:
		d.db = uint16(db)
		d.simple("OK")
	}
}

// client answers what clients ask about themselves.
func (d *down) client(n int) {
	sub := strings.ToLower(string(d.arg(1)))
	switch {
	case sub == "setname" && n == 3:
		d.name = append(d.name[:0], d.arg(2)...)
		d.simple("OK")
	case sub == "getname" && n == 2:
		d.w.scratch = resp.AppendBulk(d.w.scratch[:0], d.name)
		d.reply(d.w.scratch)
	case sub == "id" && n == 2:
		d.w.scratch = resp.AppendInt(d.w.scratch[:0], int(d.info.ID))
		d.reply(d.w.scratch)
	case sub == "setinfo" && n == 4, sub == "no-evict" && n == 3, sub == "no-touch" && n == 3:
		d.simple("OK")
	default:
		d.p.stats.unsupported.Add(1)
		d.fail("ERR 'client " + sub + "' is not available through the proxy")
	}
}
