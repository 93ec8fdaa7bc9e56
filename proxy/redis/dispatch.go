package redis

import (
	"net/netip"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/cluster/balance"
	"github.com/weftmesh/weft/proxy/redis/command"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

const (
	crossSlot  = "CROSSSLOT Keys in request don't hash to the same slot"
	noUpstream = "no upstream host"
)

// command carries out the command at hand. false: not yet.
func (d *down) command() bool {
	c := command.Find(d.arg(0))
	n := d.parser.N()
	if !d.authed && !beforeLogin(c) {
		d.fail("NOAUTH Authentication required.")
		return true
	}
	if !c.Fits(n) {
		d.p.stats.invalid.Add(1)
		d.fail("ERR wrong number of arguments for '" + c.Stat + "' command")
		return true
	}
	if d.relay != nil {
		if l := d.listen(c); l != asAnyOther {
			return l == taken
		}
	}
	if c.Class == command.Local {
		return d.local(c)
	}
	if c.Class == command.Refused || refusedForm(c, n, d.args) {
		d.p.stats.unsupported.Add(1)
		d.fail("ERR '" + strings.ToLower(string(d.arg(0))) + "' is not available through the proxy")
		return true
	}
	if d.cfg.faults != nil && !d.drawn {
		if d.fault(c) {
			return false
		}
	}
	ok := true
	if d.failing {
		st := d.p.stats.of(c)
		st.total.Add(1)
		st.failed.Add(1)
		st.fault.Add(1)
		d.fail("ERR Fault Injected: Error")
	} else {
		ok = d.carry(c)
	}
	if ok {
		d.drawn, d.failing = false, false
	}
	return ok
}

// refusedForm tells whether a command is one that only some servers of many would see.
func refusedForm(c *command.Command, n int, arg func(int) []byte) bool {
	return c.Stat == "config" && n > 1 && !strings.EqualFold(string(arg(1)), "get")
}

// fault draws what is to happen to the next command; true: it waits.
func (d *down) fault(c *command.Command) bool {
	d.drawn = true
	var delay time.Duration
	for _, f := range d.cfg.faults[c.ID] {
		if !f.Fraction.Chosen(d.w.draw()) {
			continue
		}
		delay = max(delay, f.Delay)
		d.failing = d.failing || f.Error
	}
	if delay <= 0 {
		return false
	}
	d.p.stats.of(c).delayed.Add(1)
	d.delayed = time.AfterFunc(delay, func() {
		d.w.do(func() {
			d.delayed = nil
			d.w.resume(d)
		})
	})
	return true
}

// carry sends the command at hand where it belongs.
func (d *down) carry(c *command.Command) bool {
	if d.own.multi {
		return d.inTransaction(c)
	}
	switch c.Class {
	case command.Begin, command.Commit, command.Rollback, command.Watch, command.Unwatch:
		return d.transaction(c)
	case command.Subscribe, command.Unsubscribe:
		return d.subscribe(c)
	}
	if c.Blocks(d.parser.N(), d.args) {
		return d.block(c)
	}
	switch c.Class {
	case command.Sum, command.Values, command.Pairs:
		d.split(c)
	case command.AllSum, command.AllOK, command.AllJoin:
		d.everywhere(c)
	case command.Scan:
		d.scan(c)
	default:
		d.one(c)
	}
	return true
}

// counted notes that a command goes upstream.
func (d *down) counted(c *command.Command) {
	d.p.stats.rqTotal.Add(1)
	d.p.stats.of(c).total.Add(1)
}

// one sends the command at hand to one server.
func (d *down) one(c *command.Command) {
	to, keys, fail := d.find(c)
	d.counted(c)
	r := d.enqueue(c)
	r.left = 1
	r.add(to)
	if fail != "" {
		r.fail(0, fail)
		return
	}
	raw := d.encoded(to.route, keys)
	d.mirror(to, c, raw, keys)
	d.dispatch(r, 0, raw)
}

// find is where the command at hand goes, by its keys.
func (d *down) find(c *command.Command) (to target, keys command.Keys, fail string) {
	keys = c.Keys(d.parser.N(), d.args)
	first := keys.First
	if keys.Extra != 0 {
		first = keys.Extra
	}
	if first == 0 {
		to, fail = d.anywhere(c)
		return to, keys, fail
	}
	to, fail = d.locate(c, d.arg(first))
	if fail != "" || keys.First == 0 || keys.Last == keys.First && keys.Extra == 0 {
		return to, keys, fail
	}
	for i := keys.First; i <= keys.Last; i += keys.Step {
		other, fail := d.locate(c, d.arg(i))
		if fail != "" {
			return to, keys, fail
		}
		if other.route != to.route || other.slot != to.slot || to.slot < 0 && other.host != to.host {
			return to, keys, crossSlot
		}
	}
	return to, keys, ""
}

// locate is where a key is.
func (d *down) locate(c *command.Command, key []byte) (to target, fail string) {
	r := d.cfg.routes.find(key)
	if r == nil {
		return to, noUpstream + ": no route has a prefix of the key"
	}
	if r.rewrites() {
		d.w.scratch = r.appendKey(d.w.scratch[:0], key)
		key = d.w.scratch
	}
	name := r.Cluster
	if c.Read && r.Reads != "" {
		name = r.Reads
	}
	to, fail = d.at(name, key, c.Read)
	to.route = r
	return to, fail
}

// at is where a key is in a cluster.
func (d *down) at(name string, key []byte, read bool) (to target, fail string) {
	cl := d.p.clusters.Get(name)
	if cl == nil {
		return to, noUpstream + ": there is no cluster " + name
	}
	to = target{cluster: cl, slot: -1, read: read && d.cfg.Read != Master}
	if t := topologyOf(cl); t != nil {
		to.slot = int32(slotOf(key))
		to.host, to.replica = t.choose(cl, to.slot, read, d.cfg.Read, d.w.draw())
	} else {
		if d.cfg.HashTags {
			key = tag(key)
		}
		to.host, _ = cl.Pick(&cluster.Pick{Random: d.w.draw(), Hash: balance.Murmur2(key), HasHash: true, Dst: d.info.Local})
	}
	if to.host == nil {
		return to, noUpstream + ": none of cluster " + name + " is healthy"
	}
	return to, ""
}

// general is the route of what has no keys.
func (d *down) general() *Route {
	if d.cfg.Default != nil {
		return d.cfg.Default
	}
	return &d.cfg.Routes[0]
}

// pubsub is what channels hash to, where servers do not pass messages on to each other: all of a cluster live on one.
var pubsub = []byte("pubsub")

// anywhere is a server for a command without keys.
func (d *down) anywhere(c *command.Command) (to target, fail string) {
	r := d.general()
	if c.Class == command.Publish || c.Class == command.Subscribe || c.Class == command.Unsubscribe || c.Stat == "pubsub" {
		to, fail = d.at(r.Cluster, pubsub, false)
		to.route = r
		return to, fail
	}
	cl := d.p.clusters.Get(r.Cluster)
	if cl == nil {
		return to, noUpstream + ": there is no cluster " + r.Cluster
	}
	all := d.servers(cl)
	if len(all) == 0 {
		return to, noUpstream + ": none of cluster " + r.Cluster + " is healthy"
	}
	to = all[d.w.draw()%uint64(len(all))]
	to.route = r
	return to, ""
}

// servers are all that have keys of their own, in an order that does not change while they stay.
func (d *down) servers(cl *cluster.Cluster) []target {
	all := d.w.keys[:0]
	if t := topologyOf(cl); t != nil {
		all = t.primaries(cl, all)
	}
	if len(all) == 0 {
		for h := range cl.Hosts {
			if h.Healthy() {
				all = append(all, target{cluster: cl, host: h, slot: -1})
			}
		}
		sortTargets(all)
	}
	d.w.keys = all
	return all
}

// encoded is the command at hand as a server gets it.
func (d *down) encoded(r *Route, k command.Keys) []byte {
	if d.parser.Canonical() && (r == nil || !r.rewrites() || k.First == 0 && k.Extra == 0) {
		return d.raw
	}
	n := d.parser.N()
	out := resp.Array(d.w.encoding[:0], n)
	var key []byte
	for i := range n {
		isKey := i == k.Extra && i > 0 || k.First > 0 && i >= k.First && i <= k.Last && (i-k.First)%k.Step == 0
		if !isKey || r == nil {
			out = resp.AppendBulk(out, d.arg(i))
			continue
		}
		key = r.appendKey(key[:0], d.arg(i))
		out = resp.AppendBulk(out, key)
	}
	d.w.encoding = out
	return out
}

// dispatch sends part i of a request; raw is kept where it may be needed again.
func (d *down) dispatch(r *request, i int, raw []byte) {
	p := &r.parts[i]
	to := &p.to
	u := d.p.engine.poolOf(to.host).get(d.w, d.connKey(to.replica || to.read && to.slot >= 0))
	if u == nil {
		r.fail(i, errOverflow.Error())
		return
	}
	if !u.limits.Acquire(cluster.Requests) {
		r.fail(i, "circuit breaker: too many requests")
		return
	}
	to.host.Begin()
	if !d.told {
		d.served(to.host)
	}
	if len(p.raw) == 0 && len(raw) <= keepBuffer && (d.cfg.Redirect || r.cmd.Read) {
		p.raw = append(p.raw[:0], raw...)
	}
	if to.asking {
		to.asking = false
		u.send(pending{kind: forNobody}, asking, d.cfg.OpTimeout)
	}
	u.send(pending{r: r, part: int32(i)}, raw, d.cfg.OpTimeout)
	u.full(d)
}

var asking = resp.AppendCommand(nil, "ASKING")

// again is a server for what another has not answered.
func (d *down) again(was target) (target, string) {
	to := was
	if t := topologyOf(was.cluster); t != nil {
		if was.slot >= 0 {
			to.host, to.replica = t.choose(was.cluster, was.slot, true, d.cfg.Read, d.w.draw())
		}
	} else if lb := was.cluster.Spec().LB.Policy; lb != cluster.RingHash && lb != cluster.Maglev {
		to.host, _ = was.cluster.Pick(&cluster.Pick{Random: d.w.draw(), Avoid: []*cluster.Host{was.host}, Tries: 3})
	}
	if to.host == nil {
		return to, noUpstream
	}
	return to, ""
}

// mirror sends copies.
func (d *down) mirror(to target, c *command.Command, raw []byte, k command.Keys) {
	if to.route == nil || len(to.route.Mirrors) == 0 {
		return
	}
	key := k.First
	if key == 0 {
		key = k.Extra
	}
	for i := range to.route.Mirrors {
		m := &to.route.Mirrors[i]
		if m.WritesOnly && c.Read || !m.Fraction.Chosen(d.w.draw()) {
			continue
		}
		var copied target
		var fail string
		if key == 0 {
			copied, fail = d.at(m.Cluster, pubsub, false)
		} else {
			d.w.scratch = to.route.appendKey(d.w.scratch[:0], d.arg(key))
			copied, fail = d.at(m.Cluster, d.w.scratch, false)
		}
		if fail == "" {
			d.copyTo(copied.host, raw)
		}
	}
}

// copyTo sends a command whose answer nobody waits for.
func (d *down) copyTo(h *cluster.Host, raw []byte) {
	u := d.p.engine.poolOf(h).get(d.w, d.connKey(false))
	// Who does not keep up gets no more.
	if u == nil || u.conn != nil && u.conn.Buffered() > maxMirrored || len(u.out) > maxMirrored || !u.limits.Acquire(cluster.Requests) {
		return
	}
	h.Begin()
	u.send(pending{kind: forMirror}, raw, d.cfg.OpTimeout)
}

// maxMirrored bounds what waits for a server that is sent copies.
const maxMirrored = 1 << 20

// redirected sends part i to where a server says that it belongs. false: the answer is the client's.
func (r *request) redirected(u *upConn, i int, reply []byte) bool {
	text := string(resp.ErrorText(reply))
	moved := strings.HasPrefix(text, "MOVED ")
	if !moved && !strings.HasPrefix(text, "ASK ") {
		return false
	}
	cl := u.pool.host.Cluster()
	t := topologyOf(cl)
	if t != nil && moved {
		t.redirected()
	}
	p := &r.parts[i]
	if r.d == nil || !r.d.cfg.Redirect || u.single || len(p.raw) == 0 || p.hops >= maxHops {
		return false
	}
	f := strings.Fields(text)
	if len(f) != 3 {
		return false
	}
	addr, ok := redirection(f[2], u.pool.host.Addr().Addr())
	if !ok {
		return false
	}
	h := hostAt(cl, addr)
	if h == nil && t != nil {
		h = t.learn(cl, addr, r.d.cfg.Unknown)
	}
	if h == nil {
		return false
	}
	p.hops++
	p.to.host, p.to.replica, p.to.read, p.to.asking = h, false, false, !moved
	r.d.dispatch(r, i, p.raw)
	return true
}

// redirection reads an address; without a host it is the server's own.
func redirection(text string, own netip.Addr) (netip.AddrPort, bool) {
	if strings.HasPrefix(text, ":") && !strings.HasPrefix(text, "::") {
		p, err := netip.ParseAddrPort("0.0.0.0" + text)
		return netip.AddrPortFrom(own, p.Port()), err == nil
	}
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a, true
	}
	// IPv6 comes without brackets.
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return netip.AddrPort{}, false
	}
	a, err := netip.ParseAddrPort("[" + text[:i] + "]" + text[i:])
	return a, err == nil
}
