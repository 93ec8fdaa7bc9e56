package redis

import (
	"strings"

	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

// relay is what a client listens to: a connection of its own, all answers of which are the client's.
type relay struct {
	up *upConn
	// waits is how many answers to (un)subscriptions are to come; count what the last of them said is left, by
	// kind: channels and patterns, and those of shards.
	waits int
	count [2]int
	// hold: the client's next command has to wait for those answers.
	hold bool
}

// subscribe begins to listen. Unsubscribing from nothing is answered here.
func (d *down) subscribe(c *command.Command) bool {
	if c.Class == command.Unsubscribe {
		d.unsubscribed(c)
		return true
	}
	if !d.claim() {
		return false
	}
	if d.own.busy() {
		d.fail("ERR '" + c.Stat + "' is not available while keys are watched")
		return true
	}
	to, _, fail := d.find(c)
	if fail == "" {
		fail = d.obtain(to)
	}
	if fail != "" {
		r := d.request(c)
		r.fail(0, fail)
		return true
	}
	d.counted(c)
	u := d.own.up
	d.own = ownState{}
	u.owner, u.relay = nil, d
	d.relay = &relay{up: u}
	d.relay.tell(c, d.parser.N(), d.encoded(nil, command.Keys{}))
	return true
}

// unsubscribed answers a client that listens to nothing.
func (d *down) unsubscribed(c *command.Command) {
	kind := byte('*')
	if d.proto == 3 {
		kind = '>'
	}
	out := d.w.scratch[:0]
	for i := range max(1, d.parser.N()-1) {
		out = resp.AppendText(resp.Head(out, kind, 3), c.Stat)
		if i+1 < d.parser.N() {
			out = resp.AppendBulk(out, d.arg(i+1))
		} else {
			out = append(out, "$-1\r\n"...)
		}
		out = resp.AppendInt(out, 0)
	}
	d.w.scratch = out
	d.reply(out)
}

// tell sends an (un)subscription of n words.
func (l *relay) tell(c *command.Command, n int, raw []byte) {
	l.waits += max(1, n-1)
	l.up.write(raw)
}

// listens tells what becomes of a command of a client that listens.
type listens uint8

const (
	asAnyOther listens = iota
	taken
	notYet
)

// listen takes the command at hand of a client that listens.
func (d *down) listen(c *command.Command) listens {
	switch {
	case c.Class == command.Subscribe || c.Class == command.Unsubscribe:
		if c.Stat == "ssubscribe" {
			to, _, fail := d.find(c)
			if fail == "" && to.host != d.relay.up.pool.host {
				fail = crossSlot
			}
			if fail != "" {
				d.fail(fail)
				return taken
			}
		}
		d.counted(c)
		d.relay.tell(c, d.parser.N(), d.encoded(nil, command.Keys{}))
		return taken
	case c.Stat == "ping" && d.proto == 2:
		d.relay.waits++
		d.relay.up.write(d.encoded(nil, command.Keys{}))
		return taken
	case d.proto == 3:
		return asAnyOther
	case d.relay.waits > 0: // whether it listens to anything afterwards is not known yet
		d.relay.hold = true
		return notYet
	case c.Stat == "quit" || c.Stat == "reset":
		return asAnyOther
	}
	d.fail("ERR Can't execute '" + c.Stat + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context")
	return taken
}

// relayed is told what the server says to a client that listens.
func (d *down) relayed(reply []byte) {
	d.write(reply)
	l := d.relay
	e, ok := resp.ElementsOf(reply)
	word, _ := resp.Bulk(e.Next())
	kind := string(word)
	if !ok || e.N != 2 || !strings.HasSuffix(kind, "subscribe") {
		if l.waits > 0 && (resp.IsError(reply) || kind == "pong") {
			l.waits--
			l.settle(d)
		}
		return
	}
	e.Next()
	n, _ := resp.Int(e.Next())
	if kind[0] == 's' && strings.HasPrefix(kind, "ss") || strings.HasPrefix(kind, "sun") {
		l.count[1] = n
	} else {
		l.count[0] = n
	}
	if l.waits > 0 {
		l.waits--
	}
	l.settle(d)
}

// settle ends a relay whose client listens to nothing any more.
func (l *relay) settle(d *down) {
	if l.waits > 0 || d.relay != l {
		return
	}
	if l.count == [2]int{} {
		d.relay, l.up.relay = nil, nil
		l.up.end("")
	}
	l.hold = false
	d.w.resume(d)
}

// lostRelay is told that the server has gone: what a client misses from now on it is to know.
func (d *down) lostRelay(*upConn) {
	d.relay = nil
	d.finish()
}

// hush stops the server while the client does not read.
func (u *upConn) hush(on bool) {
	if u.conn != nil && !u.closed {
		u.conn.SetReading(!on)
	}
}
