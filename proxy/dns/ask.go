package dns

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/wire"
)

const (
	// maxAsked bounds the names that are asked for: programs may ask for anything. The
	// quarter that was not used for longest goes when there are more.
	maxAsked = 2048
	// Marker is the resource that says that names have to be asked for one by one.
	Marker = wire.HostsOnDemand
)

// errUnanswered: the control plane has not said whether there is such a name.
var errUnanswered = errors.New("the control plane has not answered")

// Asker asks the control plane for names, and again for none of them. Neither may block.
type Asker interface {
	Subscribe(names ...string)
	Unsubscribe(names ...string)
}

// demand is the names that were asked for. What was answered follows the control
// plane from then on: a name that appears is known at once.
type demand struct {
	asker Asker
	clock atomic.Int64

	mu    sync.Mutex
	asked map[string]*inquiry
}

// inquiry is one name; host is valid once answered is closed, and nil when there is
// no such name.
type inquiry struct {
	name     string
	answered chan struct{}
	once     sync.Once
	host     atomic.Pointer[Host]
	used     atomic.Int64
}

// Ask has names asked for from now on, as far as they are not in known, by name: the
// table is not looked at any more, until the next Set.
func (n *Names) Ask(a Asker, known map[string]*Host) {
	if n.demand.Load() != nil {
		return
	}
	d := &demand{asker: a, asked: map[string]*inquiry{}}
	names := make([]string, 0, len(known))
	for name, h := range known {
		q := d.inquiry(name)
		q.tell(h)
		names = append(names, name)
	}
	if !n.demand.CompareAndSwap(nil, d) {
		return
	}
	if len(names) > 0 {
		a.Subscribe(names...)
	}
	n.begin.Do(func() { close(n.ready) })
}

// Told takes the answer about a name; nil: there is none. It does nothing about names
// that were not asked for.
func (n *Names) Told(name string, h *Host) {
	d := n.demand.Load()
	if d == nil {
		return
	}
	d.mu.Lock()
	q := d.asked[name]
	d.mu.Unlock()
	if q != nil {
		q.tell(h)
	}
}

func (q *inquiry) tell(h *Host) {
	q.host.Store(h)
	q.once.Do(func() { close(q.answered) })
}

// Get returns the host of each name, in their order, nil where the mesh has none.
// Names that are not known yet are asked for, all at once.
func (n *Names) Get(ctx context.Context, names ...string) ([]*Host, error) {
	out := make([]*Host, len(names))
	d := n.demand.Load()
	if d == nil {
		for i, name := range names {
			out[i] = n.Find(name)
		}
		return out, nil
	}
	for i, q := range d.inquire(names) {
		select {
		case <-q.answered:
			out[i] = q.host.Load()
		case <-ctx.Done():
			return nil, errUnanswered
		}
	}
	return out, nil
}

// known is the host of a name as far as that is known; nil otherwise.
func (n *Names) known(name string) *Host {
	d := n.demand.Load()
	if d == nil {
		return n.Find(name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.asked[name]; q != nil {
		return q.host.Load()
	}
	return nil
}

// inquire asks for names that were not asked for before.
func (d *demand) inquire(names []string) []*inquiry {
	out := make([]*inquiry, len(names))
	var ask []string
	d.mu.Lock()
	for i, name := range names {
		q := d.asked[name]
		if q == nil {
			q = d.inquiry(name)
			ask = append(ask, name)
		}
		q.used.Store(d.clock.Add(1))
		out[i] = q
	}
	var drop []string
	if len(d.asked) > maxAsked {
		drop = d.dropLocked()
	}
	d.mu.Unlock()
	if len(drop) > 0 {
		d.asker.Unsubscribe(drop...)
	}
	if len(ask) > 0 {
		d.asker.Subscribe(ask...)
	}
	return out
}

func (d *demand) inquiry(name string) *inquiry {
	q := &inquiry{name: name, answered: make(chan struct{})}
	d.asked[name] = q
	return q
}

// dropLocked forgets the quarter of the names that was not used for longest.
func (d *demand) dropLocked() (names []string) {
	list := make([]*inquiry, 0, len(d.asked))
	for _, q := range d.asked {
		list = append(list, q)
	}
	slices.SortFunc(list, func(a, b *inquiry) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	for _, q := range list[:len(list)/4] {
		delete(d.asked, q.name)
		names = append(names, q.name)
	}
	return names
}

// candidates are the full names that a name may stand for, most likely first.
func (r *Resolver) candidates(name string) []string {
	out := []string{name}
	if strings.HasSuffix(name, "."+r.Domain) {
		return out
	}
	for _, s := range r.Search {
		out = append(out, name+"."+s)
	}
	return out
}
