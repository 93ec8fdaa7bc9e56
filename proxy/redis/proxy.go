package redis

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/redis/command"
)

// Proxy is a filter.Terminal. Safe for concurrent use.
type Proxy struct {
	engine   *Engine
	clusters *cluster.Manager
	stats    *stats
	now      atomic.Pointer[compiled]

	mu sync.Mutex
	// Guarded by mu.
	live map[*down]struct{}
}

// compiled is a Config at work.
type compiled struct {
	Config
	routes table
	// faults by command; nil: there are none.
	faults [][]*Fault
	// names of all clusters.
	names []string
}

// New checks a configuration. Its clusters need not exist yet.
func New(e *Engine, m *cluster.Manager, c Config) (*Proxy, error) {
	if c.OpTimeout <= 0 {
		return nil, errors.New("redis proxy: settings.op_timeout must be positive")
	}
	if len(c.Routes) == 0 && c.Default == nil {
		return nil, errors.New("redis proxy: there is no route")
	}
	seen := map[string]bool{}
	for _, r := range c.Routes {
		if seen[r.Prefix] {
			return nil, fmt.Errorf("redis proxy: there are two routes with the prefix %q", r.Prefix)
		}
		seen[r.Prefix] = true
	}
	p := &Proxy{engine: e, clusters: m, stats: newStats(&c), live: map[*down]struct{}{}}
	p.now.Store(compile(c))
	return p, nil
}

func compile(c Config) *compiled {
	out := &compiled{Config: c, routes: newTable(&c)}
	all := c.Routes
	if c.Default != nil {
		all = append(all[:len(all):len(all)], *c.Default)
	}
	for _, r := range all {
		out.names = append(out.names, r.Cluster)
		if r.Reads != "" {
			out.names = append(out.names, r.Reads)
		}
		for _, m := range r.Mirrors {
			out.names = append(out.names, m.Cluster)
		}
	}
	slices.Sort(out.names)
	out.names = slices.Compact(out.names)
	if len(c.Faults) == 0 {
		return out
	}
	out.faults = make([][]*Fault, len(command.All))
	for i := range c.Faults {
		f := &c.Faults[i]
		of := f.Commands
		if len(of) == 0 {
			of = command.All
		}
		for _, cmd := range of {
			if cmd.Class != command.Local {
				out.faults[cmd.ID] = append(out.faults[cmd.ID], f)
			}
		}
	}
	return out
}

// Clusters are the names of all that the configuration has.
func (p *Proxy) Clusters() []string { return p.now.Load().names }

// asks tells whether clients have to log in.
func (c *compiled) asks() bool { return len(c.Passwords) > 0 }

// knows tells whether a client may come in. It takes as long whatever is wrong.
func (c *compiled) knows(user, password []byte, named bool) bool {
	ok := 0
	for _, p := range c.Passwords {
		ok |= subtle.ConstantTimeCompare([]byte(p), password)
	}
	name := c.User
	if name == "" {
		name = "default"
	}
	if c.User != "" || named {
		ok &= subtle.ConstantTimeCompare([]byte(name), user)
	}
	return ok == 1
}

// Adopt makes the proxy do what another, which serves no connection yet, was configured to do: the connections that there
// are go on by it from their next command. false: other is something else.
func (p *Proxy) Adopt(other filter.Terminal) bool {
	o, ok := other.(*Proxy)
	if ok {
		p.now.Store(o.now.Load())
	}
	return ok
}

// Serve implements filter.Terminal.
func (p *Proxy) Serve(c stream.Conn, info *filter.ConnInfo, done func()) {
	p.stats.cxTotal.Add(1)
	p.stats.cxActive.Add(1)
	d := &down{w: p.engine.worker(c), p: p, cfg: p.now.Load(), conn: c, info: info, done: done, proto: 2, leaving: info.Leaving}
	d.args = d.arg
	d.authed = !d.cfg.asks()
	p.mu.Lock()
	p.live[d] = struct{}{}
	p.mu.Unlock()
	d.w.do(func() {
		c.Bind(&d.w.ex, d)
		if d.leaving {
			d.leave()
		}
	})
}

// Drain implements filter.Terminal: clients between two commands move to the process that has taken over, if there is
// one. There is no way to ask a client of Redis to go; the listener cuts those that are left.
func (p *Proxy) Drain() {
	p.mu.Lock()
	live := slices.Collect(maps.Keys(p.live))
	p.mu.Unlock()
	for _, d := range live {
		d.w.do(func() {
			d.leaving = true
			d.leave()
		})
	}
}

// leave is told of a connection's end.
func (p *Proxy) leave(d *down) {
	p.mu.Lock()
	delete(p.live, d)
	p.mu.Unlock()
	p.stats.cxActive.Add(-1)
	i := d.info
	i.Duration = time.Since(i.Start)
	for _, o := range d.cfg.Observers {
		o.ConnClosed(i)
	}
	d.done()
}

// served notes where the first command of a connection went.
func (d *down) served(h *cluster.Host) {
	d.told = true
	h.Fill(&d.info.Upstream)
	for _, o := range d.cfg.Observers {
		o.ConnOpened(d.info)
	}
}
