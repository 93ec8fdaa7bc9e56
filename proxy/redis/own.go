package redis

import (
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

// ownState is what a client does on a connection of its own: a transaction, or a command that waits.
type ownState struct {
	up      *upConn
	to      target
	multi   bool // MULTI was said
	dirty   bool // and cannot be carried out any more
	watches bool
	waiting bool // for a command that may take its time
}

func (o *ownState) busy() bool { return o.multi || o.watches || o.waiting || o.up != nil }

// claim waits until all commands before have been answered; false: not yet.
func (d *down) claim() bool {
	if d.first != nil {
		d.stalled = true
		return false
	}
	return true
}

// take a connection of the client's own to a server. fail says why there is none.
func (d *down) obtain(to target) (fail string) {
	u := d.p.engine.poolOf(to.host).own(d.w, d.connKey(false))
	if u == nil {
		return errOverflow.Error()
	}
	u.owner = d
	d.own.up, d.own.to = u, to
	if !d.told {
		d.served(to.host)
	}
	return ""
}

// ask sends a command on the client's own connection. timed: the server has to answer soon.
func (d *down) ask(r *request, raw []byte, timed bool) {
	u := d.own.up
	if u == nil {
		r.fail(0, "EXECABORT the connection to the server was lost")
		return
	}
	if !u.limits.Acquire(cluster.Requests) {
		r.fail(0, "circuit breaker: too many requests")
		return
	}
	u.pool.host.Begin()
	timeout := d.cfg.OpTimeout
	if !timed {
		timeout = 0
	}
	u.send(pending{r: r}, raw, timeout)
}

// request makes one of a single part, of which nothing is sent again.
func (d *down) request(c *command.Command) *request {
	d.counted(c)
	r := d.enqueue(c)
	r.left = 1
	r.add(d.own.to)
	return r
}

// block carries out a command that may wait; those behind it wait too.
func (d *down) block(c *command.Command) bool {
	if !d.claim() {
		return false
	}
	to, keys, fail := d.find(c)
	if fail == "" && d.own.up == nil {
		fail = d.obtain(to)
	} else if fail == "" {
		fail = "ERR a command that waits cannot be carried while keys are watched"
	}
	r := d.request(c)
	if fail != "" {
		r.fail(0, fail)
		return true
	}
	r.own, d.held, d.own.waiting = true, true, true
	r.after = func(d *down, _ []byte) { d.releaseOwn() }
	d.ask(r, d.encoded(to.route, keys), false)
	return true
}

// releaseOwn gives the connection back.
func (d *down) releaseOwn() {
	if u := d.own.up; u != nil {
		u.pool.giveBack(u)
	}
	d.own = ownState{}
}

// dropOwn ends it, with what is under way on it.
func (d *down) dropOwn() {
	u := d.own.up
	d.own = ownState{}
	if u != nil {
		u.owner = nil
		u.end("")
	}
}

// lostOwn is told that it has ended.
func (d *down) lostOwn(*upConn) {
	d.own.up, d.own.watches = nil, false
	d.own.dirty = d.own.multi
}

// transaction carries out MULTI and WATCH, and what belongs to them outside of a transaction.
func (d *down) transaction(c *command.Command) bool {
	switch c.Class {
	case command.Commit, command.Rollback:
		d.fail("ERR " + c.Name + " without MULTI")
		return true
	case command.Begin:
		if !d.claim() {
			return false
		}
		d.own.multi, d.own.dirty = true, false
		if d.own.up == nil {
			d.simple("OK") // where to is known with the first key
			return true
		}
		d.ask(d.request(c), d.encoded(nil, command.Keys{}), true)
		return true
	case command.Unwatch:
		if d.own.up == nil {
			d.simple("OK")
			return true
		}
		d.finishOwn(c)
		return true
	}
	if !d.claim() { // WATCH
		return false
	}
	to, keys, fail := d.find(c)
	if fail == "" {
		fail = d.join(to)
	}
	r := d.request(c)
	if fail != "" {
		r.fail(0, fail)
		return true
	}
	d.own.watches = true
	d.ask(r, d.encoded(to.route, keys), true)
	return true
}

// join makes the client's own connection one to that server, or says why it cannot be.
func (d *down) join(to target) (fail string) {
	if d.own.up == nil {
		return d.obtain(to)
	}
	if d.own.up.pool.host != to.host {
		return crossSlot
	}
	return ""
}

// finishOwn sends the last command on the client's own connection; those behind it wait for its answer.
func (d *down) finishOwn(c *command.Command) {
	r := d.request(c)
	r.own, d.held = true, true
	r.after = func(d *down, reply []byte) {
		if d.own.up != nil && resp.IsError(reply) && c.Class != command.Commit {
			d.dropOwn() // in what state it is, nobody knows
			return
		}
		d.releaseOwn()
	}
	d.ask(r, d.encoded(nil, command.Keys{}), true)
}

// inTransaction carries out a command behind MULTI.
func (d *down) inTransaction(c *command.Command) bool {
	switch c.Class {
	case command.Begin:
		d.fail("ERR MULTI calls can not be nested")
		return true
	case command.Watch:
		d.fail("ERR WATCH inside MULTI is not allowed")
		return true
	case command.Subscribe, command.Unsubscribe:
		d.own.dirty = true
		d.fail("ERR '" + c.Stat + "' is not available in a transaction through the proxy")
		return true
	case command.Commit, command.Rollback:
		d.endTransaction(c)
		return true
	}
	fail := ""
	to, keys, fail := d.find(c)
	if keys.First == 0 && keys.Extra == 0 && d.own.up != nil {
		to, fail = d.own.to, ""
	}
	to.replica = false
	if fail == "" && to.slot >= 0 && to.read {
		to.host, _ = topologyOf(to.cluster).choose(to.cluster, to.slot, false, Master, 0)
	}
	fresh := d.own.up == nil && !d.own.dirty
	if fail == "" && to.host == nil {
		fail = noUpstream
	}
	if fail == "" && !d.own.dirty {
		fail = d.join(to)
	}
	r := d.request(c)
	if fail != "" || d.own.dirty {
		d.own.dirty = true
		if fail == "" {
			fail = "EXECABORT Transaction discarded because of previous errors."
		}
		r.fail(0, fail)
		return true
	}
	if fresh {
		d.own.up.send(pending{kind: forNobody}, multi, d.cfg.OpTimeout)
	}
	raw := d.encoded(to.route, keys)
	d.mirror(to, c, raw, keys)
	d.ask(r, raw, true)
	return true
}

var multi = resp.AppendCommand(nil, "MULTI")

var discard = resp.AppendCommand(nil, "DISCARD")

// endTransaction carries out EXEC or DISCARD.
func (d *down) endTransaction(c *command.Command) {
	dirty := d.own.dirty
	if d.own.up != nil && !dirty {
		d.finishOwn(c)
		d.own.multi = false
		return
	}
	if u := d.own.up; u != nil { // what was sent before is still to be answered
		u.send(pending{kind: forNobody}, discard, d.cfg.OpTimeout)
		u.owner = nil
		u.retire()
	}
	d.own = ownState{}
	switch {
	case c.Class == command.Rollback:
		d.simple("OK")
	case dirty:
		d.fail("EXECABORT Transaction discarded because of previous errors.")
	default:
		d.w.scratch = resp.Array(d.w.scratch[:0], 0)
		d.reply(d.w.scratch)
	}
}
