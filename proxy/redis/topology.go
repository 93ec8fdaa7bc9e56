package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/redis/resp"
)

// ClusterConfig says how the topology of a Redis cluster is followed (Envoy's cluster type envoy.clusters.redis).
type ClusterConfig struct {
	// Every is how often it is asked for, 0: 5 s; Timeout of one answer, 0: 3 s.
	Every, Timeout time.Duration
	// Interval is how long it is not asked for again after an answer, 0: 5 s.
	Interval time.Duration
	// Redirections and Failures are after how many of them it is asked for at once; 0: never.
	Redirections, Failures uint32
}

// Topology is the Discovery of a Redis cluster: which servers there are, and who has which slot.
type Topology struct {
	c    ClusterConfig
	wake chan struct{}
	now  atomic.Pointer[shards]

	redirections, failures atomic.Uint32

	mu      sync.Mutex
	learned map[netip.AddrPort]bool // of redirections, since the last answer; guarded by mu
	last    []cluster.Endpoint      // guarded by mu
}

var _ cluster.Discovery = (*Topology)(nil)

// shards are who has which slot.
type shards struct {
	of  [slots]*shard
	all []*shard
}

// shard is a primary with its replicas. The first use of an address finds its host.
type shard struct {
	primary  netip.AddrPort
	replicas []netip.AddrPort
}

// NewTopology makes the Discovery of one cluster.
func NewTopology(c ClusterConfig) *Topology {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Every, 5*time.Second)
	def(&c.Timeout, 3*time.Second)
	def(&c.Interval, 5*time.Second)
	return &Topology{c: c, wake: make(chan struct{}, 1), learned: map[netip.AddrPort]bool{}}
}

// topologyOf is that of a cluster; nil: it is none of Redis's.
func topologyOf(c *cluster.Cluster) *Topology {
	t, _ := c.Spec().Discovery.(*Topology)
	return t
}

// Run implements cluster.Discovery.
func (t *Topology) Run(ctx context.Context, c *cluster.Cluster) {
	retry := 100 * time.Millisecond
	for ctx.Err() == nil {
		wait := t.c.Every
		err := t.refresh(ctx, c)
		if err != nil {
			c.Discovered(nil)
			c.Stats().UpdateFailure.Add(1)
			if t.now.Load() == nil { // nothing can be done before
				wait = min(retry, t.c.Every)
				retry *= 2
			}
		}
		t.redirections.Store(0)
		t.failures.Store(0)
		t.pause(ctx, wait)
	}
}

// pause waits for the time of the next question, or for a reason to ask before, but not too soon.
func (t *Topology) pause(ctx context.Context, wait time.Duration) {
	asked := time.Now()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
		return
	case <-t.wake:
	}
	timer.Reset(min(t.c.Interval, t.c.Every) - time.Since(asked))
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// redirected and failed count what may mean that the topology is another.
func (t *Topology) redirected() { t.note(&t.redirections, t.c.Redirections) }
func (t *Topology) failed()     { t.note(&t.failures, t.c.Failures) }

func (t *Topology) note(n *atomic.Uint32, most uint32) {
	if n.Add(1) >= most && most > 0 {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

// refresh asks servers until one answers: those known, then the seeds.
func (t *Topology) refresh(ctx context.Context, c *cluster.Cluster) error {
	var hosts []*cluster.Host
	for h := range c.Hosts {
		hosts = append(hosts, h)
	}
	seeds, err := c.Seeds(ctx)
	for _, h := range append(hosts, seeds...) {
		var s *shards
		if s, err = t.ask(ctx, c, h); err == nil {
			t.publish(c, s)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err == nil {
		err = errors.New("there is nobody to ask")
	}
	return err
}

// ask asks one server.
func (t *Topology) ask(ctx context.Context, c *cluster.Cluster, h *cluster.Host) (*shards, error) {
	ctx, cancel := context.WithTimeout(ctx, t.c.Timeout)
	defer cancel()
	nc, err := c.Connect(ctx, h)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if d, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(d)
	}
	var out []byte
	want := 1
	if l := c.Spec().Redis; l != nil {
		want++
		if l.User != "" {
			out = resp.AppendCommand(out, "AUTH", l.User, l.Password)
		} else {
			out = resp.AppendCommand(out, "AUTH", l.Password)
		}
	}
	out = resp.AppendCommand(out, "CLUSTER", "SLOTS")
	if _, err := nc.Write(out); err != nil {
		return nil, err
	}
	var reply []byte
	for r := newReplies(nc); want > 0; want-- {
		if reply, err = r.next(); err != nil {
			return nil, err
		}
		if resp.IsError(reply) {
			return nil, fmt.Errorf("%s: %s", h, resp.ErrorText(reply))
		}
	}
	return parseSlots(reply, h.Addr().Addr())
}

// replies reads whole answers.
type replies struct {
	r    *bufio.Reader
	buf  []byte
	scan resp.Scanner
}

// mostTopology bounds the answer to CLUSTER SLOTS.
const mostTopology = 16 << 20

func newReplies(nc net.Conn) *replies { return &replies{r: bufio.NewReader(nc)} }

func (r *replies) next() ([]byte, error) {
	chunk := make([]byte, 4<<10)
	for {
		n, err := r.scan.Scan(r.buf)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			out := r.buf[:n:n]
			r.buf = r.buf[n:]
			return out, nil
		}
		if len(r.buf) > mostTopology {
			return nil, errors.New("the answer is too long")
		}
		m, err := r.r.Read(chunk)
		if r.buf = append(r.buf, chunk[:m]...); m == 0 && err != nil {
			return nil, err
		}
	}
}

// parseSlots reads the answer to CLUSTER SLOTS. A server that does not know its own address leaves it empty.
func parseSlots(reply []byte, own netip.Addr) (*shards, error) {
	bad := errors.New("not an answer to CLUSTER SLOTS")
	s := &shards{}
	by := map[netip.AddrPort]*shard{}
	ranges, ok := resp.ElementsOf(reply)
	if !ok {
		return nil, bad
	}
	for one := ranges.Next(); one != nil; one = ranges.Next() {
		e, ok := resp.ElementsOf(one)
		if !ok || e.N < 3 {
			return nil, bad
		}
		from, ok1 := resp.Int(e.Next())
		to, ok2 := resp.Int(e.Next())
		if !ok1 || !ok2 || from < 0 || to >= slots || from > to {
			return nil, bad
		}
		var sh *shard
		for node := e.Next(); node != nil; node = e.Next() {
			addr, ok := parseNode(node, own)
			switch {
			case !ok && sh == nil:
				return nil, bad
			case !ok:
				continue // a replica that has no address that can be reached
			case sh == nil:
				if sh = by[addr]; sh == nil {
					sh = &shard{primary: addr}
					by[addr] = sh
					s.all = append(s.all, sh)
				}
			case !slices.Contains(sh.replicas, addr):
				sh.replicas = append(sh.replicas, addr)
			}
		}
		for i := from; i <= to; i++ {
			s.of[i] = sh
		}
	}
	if len(s.all) == 0 {
		return nil, errors.New("the cluster has no slots")
	}
	return s, nil
}

func parseNode(node []byte, own netip.Addr) (netip.AddrPort, bool) {
	e, ok := resp.ElementsOf(node)
	if !ok || e.N < 2 {
		return netip.AddrPort{}, false
	}
	ip, _ := resp.Bulk(e.Next())
	port, ok := resp.Int(e.Next())
	if !ok || port <= 0 || port > 65535 {
		return netip.AddrPort{}, false
	}
	if len(ip) == 0 {
		return netip.AddrPortFrom(own, uint16(port)), true
	}
	a, err := netip.ParseAddr(string(ip))
	return netip.AddrPortFrom(a, uint16(port)), err == nil
}

// publish makes s what is known. Hosts that stay keep their connections.
func (t *Topology) publish(c *cluster.Cluster, s *shards) {
	var list []cluster.Endpoint
	for _, sh := range s.all {
		for _, a := range append([]netip.AddrPort{sh.primary}, sh.replicas...) {
			list = append(list, cluster.Endpoint{Addr: a})
		}
	}
	t.mu.Lock()
	clear(t.learned)
	t.last = list
	t.set(c)
	t.mu.Unlock()
	t.now.Store(s)
}

// set tells the cluster its hosts. The caller holds mu.
func (t *Topology) set(c *cluster.Cluster) {
	list := slices.Clone(t.last)
	for a := range t.learned {
		if !slices.ContainsFunc(list, func(e cluster.Endpoint) bool { return e.Addr == a }) {
			list = append(list, cluster.Endpoint{Addr: a})
		}
	}
	c.Discovered(&cluster.Endpoints{Localities: []cluster.Locality{{Endpoints: list}}})
}

// learn takes a server in that a redirection has named, until the next answer; nil: they would be more than most.
func (t *Topology) learn(c *cluster.Cluster, a netip.AddrPort, most uint32) *cluster.Host {
	t.mu.Lock()
	if uint32(len(t.learned)) < most {
		t.learned[a] = true
		t.set(c)
	}
	t.mu.Unlock()
	return hostAt(c, a)
}

// primaries appends those of all shards.
func (t *Topology) primaries(c *cluster.Cluster, out []target) []target {
	s := t.now.Load()
	if s == nil {
		return out
	}
	for _, sh := range s.all {
		if h := hostAt(c, sh.primary); h != nil {
			out = append(out, target{cluster: c, host: h, slot: -1})
		}
	}
	return out
}

// choose is the server for a slot; replica: it is one. nil: there is none.
func (t *Topology) choose(c *cluster.Cluster, slot int32, read bool, policy ReadPolicy, random uint64) (h *cluster.Host, replica bool) {
	s := t.now.Load()
	if s == nil {
		h, _ = c.Pick(&cluster.Pick{Random: random})
		return h, false
	}
	sh := s.of[slot]
	if sh == nil {
		return nil, false
	}
	primary := hostAt(c, sh.primary)
	if !read || policy == Master {
		return primary, false
	}
	healthy := primary != nil && primary.Healthy()
	if policy == PreferMaster && healthy || len(sh.replicas) == 0 && policy != Replica {
		return primary, false
	}
	n := uint64(len(sh.replicas))
	if policy == Any {
		if i := random % (n + 1); i == n && healthy {
			return primary, false
		}
	}
	for i := range n {
		r := hostAt(c, sh.replicas[(random+i)%n])
		if r == nil {
			continue
		}
		if h == nil || !h.Healthy() {
			h = r
		}
		if h.Healthy() {
			return h, true
		}
	}
	if policy != Replica && primary != nil && (healthy || h == nil) {
		return primary, false
	}
	return h, h != nil
}
