package wasm

import (
	"strings"
	"sync"

	"github.com/weftmesh/weft/proxy/filter"
)

const (
	// maxShared bounds what plug-ins of one vm_id share, in bytes; maxQueue the entries of a queue.
	maxShared = 64 << 20
	maxQueue  = 1 << 16
)

// shared is what the machines of one vm_id have together.
type shared struct {
	mu     sync.Mutex
	data   map[string]datum
	size   int
	cas    uint32
	queues []*queue
}

type datum struct {
	value string
	cas   uint32
}

// queue is handed from one plug-in to another; the machine that registered it is told of what comes.
type queue struct {
	name    string
	entries []string
	owner   *vm
}

// rooms are those of all vm_ids of the process.
var rooms struct {
	sync.Mutex
	by map[string]*shared
}

func room(vmID string) *shared {
	rooms.Lock()
	defer rooms.Unlock()
	if rooms.by == nil {
		rooms.by = map[string]*shared{}
	}
	r := rooms.by[vmID]
	if r == nil {
		r = &shared{data: map[string]datum{}}
		rooms.by[vmID] = r
	}
	return r
}

func (v *vm) hostShared(s []uint64) uint32 {
	key, a := v.text(u(s, 0), u(s, 1))
	if !a {
		return badMemory
	}
	r := v.core.room
	r.mu.Lock()
	d, there := r.data[key]
	r.mu.Unlock()
	if !there {
		_ = v.give("", u(s, 2), u(s, 3))
		return notFound
	}
	if x := v.give(d.value, u(s, 2), u(s, 3)); x != ok {
		return x
	}
	return v.put(u(s, 4), d.cas)
}

func (v *vm) hostSetShared(s []uint64) uint32 {
	key, a := v.text(u(s, 0), u(s, 1))
	value, b := v.text(u(s, 2), u(s, 3))
	if !a || !b {
		return badMemory
	}
	r := v.core.room
	r.mu.Lock()
	defer r.mu.Unlock()
	old, there := r.data[key]
	if want := u(s, 4); want != 0 && (!there || old.cas != want) {
		return casMismatch
	}
	grown := r.size + len(value) - len(old.value)
	if !there {
		grown += len(key)
	}
	if grown > maxShared {
		return internal
	}
	r.size = grown
	r.cas++
	r.data[key] = datum{value, r.cas}
	return ok
}

func (v *vm) hostRegisterQueue(s []uint64) uint32 {
	name, a := v.text(u(s, 0), u(s, 1))
	if !a {
		return badMemory
	}
	r := v.core.room
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, q := range r.queues {
		if q.name == name {
			q.owner = v
			return v.put(u(s, 2), uint32(i+1)) //nolint:gosec // small
		}
	}
	r.queues = append(r.queues, &queue{name: name, owner: v})
	return v.put(u(s, 2), uint32(len(r.queues))) //nolint:gosec // small
}

// hostResolveQueue finds a queue of another vm_id's plug-ins too: its number says whose it is.
func (v *vm) hostResolveQueue(s []uint64) uint32 {
	id, a := v.text(u(s, 0), u(s, 1))
	name, b := v.text(u(s, 2), u(s, 3))
	if !a || !b {
		return badMemory
	}
	if id != v.core.vmID {
		return notFound
	}
	r := v.core.room
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, q := range r.queues {
		if q.name == name {
			return v.put(u(s, 4), uint32(i+1)) //nolint:gosec // small
		}
	}
	return notFound
}

func (r *shared) queue(token uint32) *queue {
	if token == 0 || int(token) > len(r.queues) {
		return nil
	}
	return r.queues[token-1]
}

func (v *vm) hostEnqueue(s []uint64) uint32 {
	data, a := v.text(u(s, 1), u(s, 2))
	if !a {
		return badMemory
	}
	r, token := v.core.room, u(s, 0)
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.queue(token)
	switch {
	case q == nil:
		return notFound
	case len(q.entries) >= maxQueue:
		return internal
	}
	q.entries = append(q.entries, data)
	if owner := q.owner; owner.fn.queueReady != nil {
		go owner.root(func() { _, _ = owner.run(owner.fn.queueReady, rootContext, uint64(token)) })
	}
	return ok
}

func (v *vm) hostDequeue(s []uint64) uint32 {
	r := v.core.room
	r.mu.Lock()
	q := r.queue(u(s, 0))
	if q == nil {
		r.mu.Unlock()
		return notFound
	}
	if len(q.entries) == 0 {
		r.mu.Unlock()
		_ = v.give("", u(s, 1), u(s, 2))
		return empty
	}
	data := q.entries[0]
	q.entries = q.entries[1:]
	r.mu.Unlock()
	return v.give(data, u(s, 1), u(s, 2))
}

// metrics are those that a plug-in defines, by number.
type metrics struct {
	stats *filter.Stats
	mu    sync.Mutex
	ids   map[string]uint32
	list  []metric
}

type metric struct {
	counter *filter.Counter
	gauge   *filter.Gauge
	// sum and count are those of a histogram.
	sum, count *filter.Counter
}

// define is the number of a metric, 1 and up; 0: there is no such kind.
func (m *metrics) define(kind uint32, name string) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = strings.NewReplacer(" ", "_", "\n", "_").Replace(name)
	if id := m.ids[name]; id != 0 {
		return id
	}
	var x metric
	switch kind {
	case 0:
		x.counter = m.stats.Counter("wasmcustom", "", name)
	case 1:
		x.gauge = m.stats.Gauge("wasmcustom", "", name)
	case 2:
		x.sum, x.count = m.stats.Counter("wasmcustom", "", name+".sum"), m.stats.Counter("wasmcustom", "", name+".count")
	default:
		return 0
	}
	m.list = append(m.list, x)
	m.ids[name] = uint32(len(m.list)) //nolint:gosec // small
	return m.ids[name]
}

func (m *metrics) get(id uint32) (metric, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id == 0 || int(id) > len(m.list) {
		return metric{}, false
	}
	return m.list[id-1], true
}

func (m *metrics) add(id uint32, by int64) uint32 {
	x, there := m.get(id)
	switch {
	case !there:
		return notFound
	case x.counter != nil && by >= 0:
		x.counter.Add(uint64(by))
	case x.gauge != nil:
		x.gauge.Add(by)
	default:
		return badArgument
	}
	return ok
}

func (m *metrics) record(id uint32, value uint64) uint32 {
	x, there := m.get(id)
	switch {
	case !there:
		return notFound
	case x.gauge != nil:
		x.gauge.Store(int64(value)) //nolint:gosec // its bits
	case x.sum != nil:
		x.sum.Add(value)
		x.count.Add(1)
	default:
		return badArgument
	}
	return ok
}

func (v *vm) hostDefineMetric(s []uint64) uint32 {
	name, a := v.text(u(s, 1), u(s, 2))
	if !a {
		return badMemory
	}
	id := v.core.metrics.define(u(s, 0), name)
	if id == 0 {
		return badArgument
	}
	return v.put(u(s, 3), id)
}

func (v *vm) hostMetric(s []uint64) uint32 {
	x, there := v.core.metrics.get(u(s, 0))
	var n uint64
	switch {
	case !there:
		return notFound
	case x.counter != nil:
		n = x.counter.Load()
	case x.gauge != nil:
		n = uint64(x.gauge.Load()) //nolint:gosec // its bits
	default:
		return badArgument
	}
	if !v.mem.WriteUint64Le(u(s, 1), n) {
		return badMemory
	}
	return ok
}
