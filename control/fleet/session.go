package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/base/bearertoken"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/control/translate"
)

// session is one connected proxy, or the agent beside one.
type session struct {
	fleet    *Fleet
	id       string
	proxy    scope.Proxy
	identity model.Key
	// registered is the workload that the proxy has asked to be; zero: it has not.
	registered model.Key
	since      time.Time
	// plain: what goes to the proxy, others may read.
	plain bool
	// account is the service account that the proxy has proved to be; empty: it has
	// proved to be a workload, or nothing.
	account string
	// number is higher the later a session was opened.
	number uint64

	// building admits one build at a time, so that states come in order; built is
	// the version of the newest.
	building sync.Mutex
	built    uint64
	// workload is the proxy's by the index of the newest build.
	workload *model.Workload
	// member is the group that the session joined last.
	member *group
	// demand answers what the proxy asks for, which is asked; demand is nil for one
	// that is not on demand by its newest build.
	demand *translate.Demand
	asked  translate.Asked
	// held are versions of the clusters that the proxy had when its stream began.
	held  map[string]string
	usage usage
	// fences are those that are up for the proxy, by its newest build.
	fences []*model.Fence
	// watched are the types that the stream is subscribed to; nil: not known, any may be.
	watched map[string]bool
	// delta: the stream is of the variant that can ask.
	delta bool
	// state is never nil once Fleet.Open has returned. It is written with Fleet.mu
	// held, which guards what it was made of and closed too; that is written with
	// building held as well.
	state  atomic.Pointer[current]
	group  *group
	shared *translate.Shared
	own    *translate.Own
	used   *translate.Used // nil: not on demand
	closed bool

	mu    sync.Mutex
	types map[string]*TypeStatus
	// faults are the rejections that stand, by type.
	faults map[string]*faults
	// settled is the newest version that the proxy has answered whole, sent the newest
	// of which something went out, by type.
	settled uint64
	sent    map[string]uint64
	moments sessionMoments
	// seen is the newest version that was looked at for the proxy, whether or not it
	// was different.
	seen atomic.Uint64
}

// current is a state and the channel that its successor closes. woken is the version of
// the newest one that the stream was woken for: those after it differ in what it does not
// take.
type current struct {
	state   *serve.State
	changed chan struct{}
	woken   uint64
}

func newSession(f *Fleet, id string, p scope.Proxy, identity model.Key) *session {
	return &session{
		fleet: f, id: id, proxy: p, identity: identity, since: time.Now(), asked: translate.Asked{}, usage: newUsage(),
		types: map[string]*TypeStatus{}, faults: map[string]*faults{}, sent: map[string]uint64{},
	}
}

// name is what people call the proxy.
func (p *session) name() string { return p.proxy.ID.Name + "." + p.proxy.ID.Namespace }

// publish makes s the state, unless it is equal to the one before; push, when
// there is one, awaits the answer. It is called with building and Fleet.mu held.
func (p *session) publish(s *serve.State, push *push) {
	old := p.state.Load()
	if old != nil && sameSets(old.state.Sets, s.Sets) {
		return
	}
	if old != nil && !p.wakes(old.state, s) {
		p.state.Store(&current{s, old.changed, old.woken}) // for whom asks
		return
	}
	// Before the stream learns of it: the proxy may answer at once.
	if push != nil && !p.proxy.Meta.Agent {
		push.awaits(p)
	}
	p.state.Store(&current{s, make(chan struct{}), s.Version})
	if old != nil {
		close(old.changed)
	}
}

// wakes tells whether a state differs from another in a type that the stream is
// subscribed to.
func (p *session) wakes(old, s *serve.State) bool {
	if p.watched == nil {
		return true
	}
	for url := range p.watched {
		if !s.Sets[url].Same(old.Sets[url]) {
			return true
		}
	}
	return false
}

// Watch implements serve.Watcher.
func (p *session) Watch(typeURL string) {
	p.building.Lock()
	defer p.building.Unlock()
	if p.watched == nil {
		p.watched = map[string]bool{}
	}
	p.watched[typeURL] = true
}

// State implements serve.Session.
func (p *session) State(context.Context) (*serve.State, <-chan struct{}, error) {
	cur := p.state.Load()
	return cur.state, cur.changed, nil
}

// Report implements serve.Session.
func (p *session) Report(r serve.Report) {
	p.fleet.metrics.report(r)
	if r.Kind == serve.Settled {
		now := time.Now()
		p.mu.Lock()
		if p.settled == 0 {
			p.moments.ready = now
		}
		p.settled, p.moments.settled = r.Version, now
		p.mu.Unlock()
		if !p.proxy.Meta.Agent {
			p.fleet.events.settled(p, r.Version)
		}
		return
	}
	p.judge(r)
	p.mu.Lock()
	t := p.types[r.Type]
	if t == nil {
		t = &TypeStatus{}
		p.types[r.Type], p.faults[r.Type] = t, &faults{}
	}
	faults := p.faults[r.Type]
	switch r.Kind {
	case serve.Sent:
		t.Sent++
		t.Bytes += r.Bytes
		p.sent[r.Type] = r.Version
	case serve.Acked:
		t.Acked++
		for _, x := range faults.taken(r.Names) {
			p.moments.cleared = cleared{x, time.Now()}
		}
	case serve.Rejected:
		t.Rejected++
		faults.rejected(r.Names, r.Error, p.settled, p.sent[r.Type])
	}
	t.Error = faults.String()
	p.mu.Unlock()
	if r.Kind == serve.Rejected {
		p.fleet.log.Error("proxy rejected configuration", "proxy", p.id, "type", r.Type, "error", r.Error)
		p.fleet.events.rejected(p, r)
	}
}

// Close implements serve.Session.
func (p *session) Close() { p.fleet.remove(p) }

// tokenHash returns the hash of the caller's bearer token, as model.Workload
// has it.
func tokenHash(ctx context.Context) (string, error) {
	if token := bearertoken.First(ctx); token != "" {
		sum := sha256.Sum256([]byte(token))
		return hex.EncodeToString(sum[:]), nil
	}
	return "", status.Error(codes.Unauthenticated, "no bearer token in the metadata: set initial_metadata authorization in the bootstrap")
}
