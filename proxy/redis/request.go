package redis

import (
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

// merge says how the answers of parts become one.
type merge uint8

const (
	mergeOne  merge = iota // there is one
	mergeSum               // integers
	mergeOK                // one stands for all
	mergeKeys              // elements by key
	mergeJoin              // arrays
	mergeScan              // a cursor and an array
)

// request is a command under way.
type request struct {
	d    *down // nil: the client has gone
	next *request
	cmd  *command.Command

	merge merge
	left  int // parts without an answer
	done  bool
	own   bool // on a connection of the client's own, behind which others wait
	reply []byte
	parts []part
	order []int32 // the part of each key
	// shard and shards of a SCAN.
	shard, shards int
	after         func(d *down, reply []byte) // called before the answer goes out; nil: nothing is to be done
}

// part is what one server does for a request.
type part struct {
	raw   []byte // the command, when it may be sent again
	reply []byte
	keys  int // of a command that was split
	to    target
	hops  uint8 // redirections and retries
}

// clear makes the request one that can be used again.
func (r *request) clear() {
	for i := range r.parts {
		p := &r.parts[i]
		p.raw, p.reply = reuse(p.raw), reuse(p.reply)
		p.keys, p.to, p.hops = 0, target{}, 0
	}
	if len(r.parts) > 16 {
		r.parts = nil
	}
	if cap(r.order) > keepRequests {
		r.order = nil
	}
	*r = request{parts: r.parts[:0], order: r.order[:0], reply: reuse(r.reply)}
}

// reuse empties a buffer, or lets go of a large one.
func reuse(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// add appends a part, with the memory of one before.
func (r *request) add(to target) *part {
	if n := len(r.parts); n < cap(r.parts) {
		r.parts = r.parts[:n+1]
	} else {
		r.parts = append(r.parts, part{})
	}
	p := &r.parts[len(r.parts)-1]
	p.to = to
	return p
}

// maxHops bounds how often a command is sent.
const maxHops = 6

// answered is told a server's answer to part i.
func (r *request) answered(u *upConn, i int, reply []byte) {
	if reply[0] == '-' && r.redirected(u, i, reply) {
		return
	}
	r.answer(i, reply)
}

// lost is told that part i will have no answer. Reads are tried again.
func (r *request) lost(i int, why string, single bool) {
	p := &r.parts[i]
	if r.d != nil && !single && r.cmd.Read && len(p.raw) > 0 && p.hops == 0 && why != "upstream timeout" {
		p.hops++
		if to, fail := r.d.again(p.to); fail == "" {
			p.to = to
			r.d.dispatch(r, i, p.raw)
			return
		}
	}
	r.fail(i, why)
}

// fail answers part i with an error of the proxy's.
func (r *request) fail(i int, why string) {
	text := why
	if !coded(why) {
		text = "ERR " + why
	}
	r.answer(i, resp.AppendError(nil, text))
}

// coded tells whether a text begins with a code, as Redis's errors do.
func coded(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			return i > 2
		case c < 'A' || c > 'Z':
			return false
		}
	}
	return false
}

// answer takes the answer to part i.
func (r *request) answer(i int, reply []byte) {
	r.left--
	d := r.d
	if d == nil {
		if r.left == 0 {
			// The worker's own lists hold no requests of clients that have gone: this was the last hold.
			r.done = true
		}
		return
	}
	if r.merge == mergeOne {
		if r == d.first && r.after == nil {
			r.done = true
			d.write(reply)
			d.completed(r, reply)
			d.deliver()
			return
		}
		r.reply = append(r.reply[:0], reply...)
	} else {
		r.parts[i].reply = append(r.parts[i].reply[:0], reply...)
	}
	if r.left > 0 {
		return
	}
	if r.merge != mergeOne {
		r.reply = r.merged(r.reply[:0])
	}
	r.done = true
	if r == d.first {
		d.deliver()
	}
}

// merged appends the one answer that the parts' make.
func (r *request) merged(out []byte) []byte {
	switch r.merge {
	case mergeKeys:
		return r.byKey(out)
	case mergeScan:
		return r.scanned(out)
	case mergeOne, mergeSum, mergeOK, mergeJoin:
	}
	sum, n := 0, 0
	for i := range r.parts {
		p := r.parts[i].reply
		if resp.IsError(p) {
			return append(out, p...)
		}
		v, _ := resp.Int(p)
		sum += v
		if e, ok := resp.ElementsOf(p); ok {
			n += e.N
		}
	}
	switch r.merge {
	case mergeSum:
		return resp.AppendInt(out, sum)
	case mergeJoin:
		out = resp.Array(out, n)
		for i := range r.parts {
			e, _ := resp.ElementsOf(r.parts[i].reply)
			for x := e.Next(); x != nil; x = e.Next() {
				out = append(out, x...)
			}
		}
		return out
	}
	return append(out, r.parts[0].reply...)
}

// byKey puts the values of several servers into the order of the keys. Where one has failed, its error stands for each.
func (r *request) byKey(out []byte) []byte {
	walks := make([]resp.Elements, len(r.parts))
	for i := range r.parts {
		walks[i], _ = resp.ElementsOf(r.parts[i].reply)
	}
	out = resp.Array(out, len(r.order))
	for _, i := range r.order {
		v := walks[i].Next()
		if p := r.parts[i].reply; v == nil && resp.IsError(p) {
			v = p
		}
		if v == nil {
			v = []byte("$-1\r\n")
		}
		out = append(out, v...)
	}
	return out
}

// target is where a command goes.
type target struct {
	cluster *cluster.Cluster
	host    *cluster.Host
	slot    int32 // of a Redis cluster; -1: none
	replica bool  // the host answers reads only
	read    bool  // and may be a replica
	asking  bool
	route   *Route
}
