package redis

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

// lookBack is in how many parts the one of a key's server is looked for: more of them would make commands of many
// keys cost the square of their number.
const lookBack = 64

// split sends the command at hand, of many keys, to all servers that have some of them.
func (d *down) split(c *command.Command) {
	step := 1
	if c.Class == command.Pairs {
		step = 2
	}
	n := d.parser.N()
	if n == 1+step || step == 2 && n%2 == 0 {
		d.one(c) // the server says what is wrong with pairs that are none
		return
	}
	d.counted(c)
	r := d.enqueue(c)
	switch c.Class {
	case command.Values:
		r.merge = mergeKeys
	case command.Pairs:
		r.merge = mergeOK
	default:
		r.merge = mergeSum
	}
	// Where each key is; what fails is a part too, so that all others go on.
	var fails []string
	for i := 1; i < n; i += step {
		to, fail := d.locate(c, d.arg(i))
		at := r.partOf(&to, fail != "")
		if at < 0 {
			r.add(to)
			at = len(r.parts) - 1
			fails = append(fails, fail)
		}
		r.parts[at].keys++
		r.order = append(r.order, int32(at))
	}
	if len(r.parts) == 1 && fails[0] == "" && !r.parts[0].to.route.rewrites() {
		r.merge, r.left = mergeOne, 1
		raw := d.encoded(nil, command.Keys{})
		d.mirror(r.parts[0].to, c, raw, command.Keys{First: 1})
		d.dispatch(r, 0, raw)
		return
	}
	r.left = len(r.parts)
	parts := len(r.parts)
	for at := range parts {
		if fails[at] != "" {
			continue
		}
		raw, first := d.encodePart(r, at, step)
		d.mirror(r.parts[at].to, c, raw, command.Keys{First: first})
		d.dispatch(r, at, raw)
	}
	// These may complete the request, which is somebody else's then: they come last.
	for at := range parts {
		if fails[at] != "" {
			r.fail(at, fails[at])
		}
	}
}

// partOf finds a part for the same server; -1: there is none. Keys whose copies may go different ways stay apart.
func (r *request) partOf(to *target, failed bool) int {
	if failed || to.route != nil && len(to.route.Mirrors) > 0 {
		return -1
	}
	for i := len(r.parts) - 1; i >= max(0, len(r.parts)-lookBack); i-- {
		if p := &r.parts[i].to; p.host == to.host && p.slot == to.slot && p.route == to.route && p.host != nil {
			return i
		}
	}
	return -1
}

// encodePart is the command of the keys of part at, and the place of its first key.
func (d *down) encodePart(r *request, at, step int) (raw []byte, first int) {
	p := &r.parts[at]
	out := resp.Array(d.w.encoding[:0], 1+p.keys*step)
	out = resp.AppendBulk(out, d.arg(0))
	var key []byte
	for i, of := range r.order {
		if int(of) != at {
			continue
		}
		word := 1 + i*step
		if first == 0 {
			first = word
		}
		if p.to.route.rewrites() {
			key = p.to.route.appendKey(key[:0], d.arg(word))
			out = resp.AppendBulk(out, key)
		} else {
			out = resp.AppendBulk(out, d.arg(word))
		}
		if step == 2 {
			out = resp.AppendBulk(out, d.arg(word+1))
		}
	}
	d.w.encoding = out
	return out, first
}

// everywhere sends the command at hand to all servers.
func (d *down) everywhere(c *command.Command) {
	d.counted(c)
	r := d.enqueue(c)
	switch c.Class {
	case command.AllSum:
		r.merge = mergeSum
	case command.AllJoin:
		r.merge = mergeJoin
	default:
		r.merge = mergeOK
	}
	route := d.general()
	var all []target
	if cl := d.p.clusters.Get(route.Cluster); cl != nil {
		all = slices.Clone(d.servers(cl))
	}
	if len(all) == 0 {
		r.left, r.merge = 1, mergeOne
		r.add(target{})
		r.fail(0, noUpstream)
		return
	}
	if len(all) == 1 {
		r.merge = mergeOne
	}
	raw := d.encoded(nil, command.Keys{})
	r.left = len(all)
	for _, to := range all {
		r.add(to)
	}
	d.mirror(target{route: route}, c, raw, command.Keys{})
	for i := range all {
		d.dispatch(r, i, raw)
	}
}

// scan sends SCAN to one server after the other: its cursor says at which the client is.
func (d *down) scan(c *command.Command) {
	d.counted(c)
	r := d.enqueue(c)
	r.left = 1
	route := d.general()
	var all []target
	if cl := d.p.clusters.Get(route.Cluster); cl != nil {
		all = d.servers(cl)
	}
	cursor, err := strconv.ParseUint(string(d.arg(1)), 10, 64)
	fail := ""
	switch {
	case len(all) == 0:
		fail = noUpstream
	case err != nil:
		fail = "invalid cursor"
	}
	if fail != "" {
		r.add(target{})
		r.fail(0, fail)
		return
	}
	r.merge, r.shards, r.shard = mergeScan, len(all), int(cursor%uint64(len(all)))
	r.add(all[r.shard])
	n := d.parser.N()
	out := resp.Array(d.w.encoding[:0], n)
	out = resp.AppendBulk(out, d.arg(0))
	out = resp.AppendText(out, strconv.FormatUint(cursor/uint64(len(all)), 10))
	for i := 2; i < n; i++ {
		out = resp.AppendBulk(out, d.arg(i))
	}
	d.w.encoding = out
	d.dispatch(r, 0, out)
}

// scanned is SCAN's answer with a cursor that says which server it is of.
func (r *request) scanned(out []byte) []byte {
	reply := r.parts[0].reply
	e, ok := resp.ElementsOf(reply)
	if !ok || e.N != 2 {
		return append(out, reply...)
	}
	text, _ := resp.Bulk(e.Next())
	cursor, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || cursor > 1<<63/uint64(r.shards) {
		return resp.AppendError(out, "ERR the server's cursor cannot be passed on")
	}
	next := cursor*uint64(r.shards) + uint64(r.shard)
	if cursor == 0 {
		next = 0
		if r.shard+1 < r.shards {
			next = uint64(r.shard) + 1
		}
	}
	out = resp.AppendText(resp.Array(out, 2), strconv.FormatUint(next, 10))
	return append(out, e.Next()...)
}

// sortTargets sorts by address.
func sortTargets(all []target) {
	slices.SortFunc(all, func(a, b target) int { return cmp.Compare(a.host.String(), b.host.String()) })
}

// hostAt finds a host of a cluster by its address.
func hostAt(cl *cluster.Cluster, addr netip.AddrPort) *cluster.Host {
	for h := range cl.Hosts {
		if h.Addr() == addr {
			return h
		}
	}
	return nil
}
