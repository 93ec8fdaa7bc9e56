package redis

import (
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

// Bounds of one client.
const (
	// maxOpen is how many commands it may have under way.
	maxOpen = 4096
	// maxHeld is how many bytes of commands wait, beyond one.
	maxHeld = 64 << 10
	// maxUnknown is how long a command of a client may be that has not logged in, as in Redis.
	maxUnknown = 16 << 10
)

// down is a client's connection.
type down struct {
	w    *worker
	p    *Proxy
	cfg  *compiled
	conn stream.Conn
	info *filter.ConnInfo
	done func()

	in     []byte // read and not taken yet
	parser resp.Parser
	args   func(int) []byte // of the command at hand
	raw    []byte           // that command

	first, last *request // under way, in order
	open        int

	proto  uint8
	db     uint16
	authed bool
	name   []byte
	// user and password go on to servers, where neither the proxy nor the cluster has any.
	user, password string

	waits   int  // for servers that do not keep up
	stalled bool // for all commands under way to be answered
	held    bool // for the answer to a command on a connection of its own
	full    bool // for the client to read
	delayed *time.Timer
	drawn   bool // the fault of the next command has been drawn, and its delay has passed
	failing bool // it is to be an error
	paused  bool // reading is

	own   ownState
	relay *relay

	dirty, resumes  bool
	closing, closed bool
	leaving         bool
	ended           bool // the client will send no more
	told            bool // observers were
}

var _ stream.Handler = (*down)(nil)

// OnData implements stream.Handler.
func (d *down) OnData(b []byte) {
	d.w.enter()
	defer d.w.leave()
	d.p.stats.received.Add(uint64(len(b)))
	d.info.Received += uint64(len(b))
	d.cfg = d.p.now.Load()
	if d.cfg.Ask != nil {
		d.askClusters()
	}
	if len(d.in) > 0 {
		d.in = append(d.in, b...)
		d.goOn()
		return
	}
	if n := d.take(b); n < len(b) && !d.closing {
		d.in = append(d.in, b[n:]...)
		d.throttle()
	}
}

// askClusters asks for those that are not there; commands wait until that has been answered.
func (d *down) askClusters() {
	for _, name := range d.cfg.names {
		if d.p.clusters.Get(name) != nil {
			continue
		}
		told := func(filter.Outcome) {
			d.w.do(func() {
				d.waits--
				d.w.resume(d)
			})
		}
		if o, _ := d.cfg.Ask(name, told); o == filter.Waiting {
			d.waits++
		}
	}
}

// goOn takes what waits.
func (d *down) goOn() {
	if d.closed {
		return
	}
	if len(d.in) > 0 {
		n := d.take(d.in)
		if !d.closing { // which drops it
			d.in = d.in[:copy(d.in, d.in[n:])]
		}
		if len(d.in) == 0 && cap(d.in) > 16*keepBuffer {
			d.in = nil
		}
	}
	d.throttle()
	if d.ended && d.first == nil && !d.closing && d.relay == nil && !d.blocked() {
		d.close()
	}
	if d.leaving {
		d.leave()
	}
}

// throttle stops reading while much waits, and resumes it.
func (d *down) throttle() {
	if stop := d.blocked() && len(d.in) > maxHeld; stop != d.paused && !d.closed {
		d.paused = stop
		d.conn.SetReading(!stop)
	}
}

// blocked tells whether the next command has to wait.
func (d *down) blocked() bool {
	return d.stalled || d.held || d.full || d.waits > 0 || d.delayed != nil || d.open >= maxOpen || d.relay != nil && d.relay.hold
}

// connKey is what has to have been said on connections for this client.
func (d *down) connKey(replica bool) connKey {
	return connKey{proto: d.proto, db: d.db, replic: replica, user: d.user, password: d.password}
}

// take carries out the commands that b begins with, and returns their size.
func (d *down) take(b []byte) (n int) {
	for n < len(b) && !d.closing && !d.blocked() {
		d.parser.Max = 0
		if !d.authed {
			d.parser.Max = maxUnknown
		}
		size, err := d.parser.Parse(b[n:])
		if err != nil {
			d.p.stats.protocolErrors.Add(1)
			d.fail("ERR " + err.Error())
			d.quit()
			return len(b)
		}
		if size == 0 {
			break
		}
		if d.parser.N() > 0 {
			d.raw = b[n : n+size]
			taken := d.command()
			d.raw = nil
			if !taken {
				break
			}
		}
		n += size
	}
	return n
}

// arg is a word of the command at hand.
func (d *down) arg(i int) []byte { return d.parser.Arg(d.raw, i) }

// enqueue makes a request.
func (d *down) enqueue(c *command.Command) *request {
	r := d.w.newRequest()
	r.d, r.cmd = d, c
	if d.last == nil {
		d.first = r
	} else {
		d.last.next = r
	}
	d.last = r
	d.open++
	d.p.stats.rqActive.Add(1)
	return r
}

// reply answers the command at hand.
func (d *down) reply(b []byte) {
	if d.first == nil {
		d.write(b)
		return
	}
	r := d.enqueue(nil)
	r.reply, r.done = append(r.reply[:0], b...), true
}

// fail answers it with an error.
func (d *down) fail(text string) {
	d.w.scratch = resp.AppendError(d.w.scratch[:0], text)
	d.reply(d.w.scratch)
}

// simple answers it with a word.
func (d *down) simple(text string) {
	d.w.scratch = append(append(append(d.w.scratch[:0], '+'), text...), '\r', '\n')
	d.reply(d.w.scratch)
}

// write sends bytes to the client at the end of the event.
func (d *down) write(b []byte) {
	if d.closed {
		return
	}
	d.p.stats.sent.Add(uint64(len(b)))
	d.info.Sent += uint64(len(b))
	d.conn.Write(b)
	if !d.dirty {
		d.dirty = true
		d.w.dirty = append(d.w.dirty, d)
	}
	if d.conn.Buffered() > stream.HighWater && !d.full {
		d.full = true
		d.throttle()
		if d.relay != nil {
			d.relay.up.hush(true)
		}
	}
}

// deliver sends the answers that are due.
func (d *down) deliver() {
	for r := d.first; r != nil && r.done; r = d.first {
		if f := r.after; f != nil {
			r.after = nil
			f(d, r.reply)
		}
		d.write(r.reply)
		d.completed(r, r.reply)
	}
	if d.first == nil && d.closing {
		d.finish()
	}
}

// completed takes the first request off, which has been answered.
func (d *down) completed(r *request, reply []byte) {
	d.first = r.next
	if d.first == nil {
		d.last = nil
	}
	r.next = nil
	d.open--
	d.p.stats.rqActive.Add(-1)
	if r.cmd != nil {
		st := d.p.stats.of(r.cmd)
		if resp.IsError(reply) {
			st.failed.Add(1)
		} else {
			st.success.Add(1)
		}
	}
	if r.own {
		d.held = false
	}
	d.w.release(r)
	if d.first == nil {
		d.stalled = false
	}
	if len(d.in) > 0 || d.ended || d.leaving {
		d.w.resume(d)
	}
}

// quit closes the connection when all has been answered.
func (d *down) quit() {
	d.closing = true
	d.in = nil
	if d.first == nil {
		d.finish()
	}
}

func (d *down) finish() {
	if !d.closed {
		d.conn.Flush()
		d.close()
	}
}

// close ends the connection; what is under way goes on for nobody.
func (d *down) close() {
	if d.closed {
		return
	}
	d.conn.Close()
	d.gone()
}

// gone lets go of everything.
func (d *down) gone() {
	d.closed, d.closing = true, true
	if d.delayed != nil {
		d.delayed.Stop()
	}
	for r := d.first; r != nil; {
		next := r.next
		r.d, r.next = nil, nil
		d.p.stats.rqActive.Add(-1)
		r = next
	}
	d.first, d.last, d.in = nil, nil, nil
	d.dropOwn()
	if d.relay != nil {
		d.relay.up.relay = nil
		d.relay.up.end("")
		d.relay = nil
	}
	d.p.leave(d)
}

// OnEnd implements stream.Handler.
func (d *down) OnEnd() {
	d.w.enter()
	d.ended = true
	if d.own.waiting || d.relay != nil {
		d.close() // nobody is there any more for what it waits for
	}
	d.goOn()
	d.w.leave()
}

// OnDrain implements stream.Handler.
func (d *down) OnDrain() {
	d.w.enter()
	d.full = false
	if d.relay != nil {
		d.relay.up.hush(false)
	}
	d.w.resume(d)
	d.w.leave()
}

// OnClose implements stream.Handler.
func (d *down) OnClose(error) {
	d.w.enter()
	if !d.closed {
		d.gone()
	}
	d.w.leave()
}

// leave moves the client to the process that has taken over, if nothing is under way.
func (d *down) leave() {
	if d.info.Mover == nil || d.closed || d.closing || d.first != nil || len(d.in) > 0 || d.blocked() ||
		d.own.busy() || d.relay != nil || d.proto != 2 || d.db != 0 || len(d.name) > 0 || d.password != "" || d.authed && d.cfg.asks() || d.conn.Buffered() > 0 {
		return
	}
	r := filter.Resumed{Protocol: "redis", Idle: time.Now()}
	if d.info.Mover.Move(d.conn, r) {
		d.p.stats.moved.Add(1)
		d.gone()
	}
}
