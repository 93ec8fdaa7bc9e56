package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/serve"
)

// session is one connected proxy, or the agent beside one.
type session struct {
	fleet    *Fleet
	id       string
	proxy    scope.Proxy
	identity model.Key
	since    time.Time
	// number is higher the later a session was opened.
	number uint64

	// building admits one build at a time, so that states come in order; built is
	// the version of the newest.
	building sync.Mutex
	built    uint64
	// state is never nil once Fleet.Open has returned. It is written with Fleet.mu
	// held, which guards the findings of the build and closed too.
	state    atomic.Pointer[current]
	findings []model.Finding
	closed   bool

	mu    sync.Mutex
	types map[string]*TypeStatus
	// faults are the rejections that stand, by type.
	faults map[string]*faults
	// settled is the newest version that the proxy holds whole.
	settled uint64
}

// current is a state and the channel that its successor closes.
type current struct {
	state   *serve.State
	changed chan struct{}
}

func newSession(f *Fleet, id string, p scope.Proxy, identity model.Key) *session {
	return &session{fleet: f, id: id, proxy: p, identity: identity, since: time.Now(), types: map[string]*TypeStatus{}, faults: map[string]*faults{}}
}

// name is what people call the proxy.
func (p *session) name() string { return p.proxy.ID.Name + "." + p.proxy.ID.Namespace }

// publish makes s the state, unless it is equal to the one before; push, when
// there is one, awaits the answer. It is called with building and Fleet.mu held.
func (p *session) publish(s *serve.State, push *push) {
	old := p.state.Load()
	if old != nil && maps.EqualFunc(old.state.Sets, s.Sets, func(a, b *serve.Set) bool { return slices.Equal(a.List(), b.List()) }) {
		return
	}
	// Before the stream learns of it: the proxy may answer at once.
	if push != nil && !p.proxy.Meta.Agent {
		push.awaits(p)
	}
	p.fleet.shared.hold(s)
	p.state.Store(&current{s, make(chan struct{})})
	if old != nil {
		p.fleet.shared.release(old.state)
		close(old.changed)
	}
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
		p.mu.Lock()
		p.settled = r.Version
		p.mu.Unlock()
		if !p.proxy.Meta.Agent {
			p.fleet.events.settled(p, r.Version)
		}
		return
	}
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
	case serve.Acked:
		t.Acked++
		faults.taken(r.Names)
	case serve.Rejected:
		t.Rejected++
		faults.rejected(r.Names, r.Error)
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
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if token, ok := strings.CutPrefix(v, "Bearer "); ok && token != "" {
			sum := sha256.Sum256([]byte(token))
			return hex.EncodeToString(sum[:]), nil
		}
	}
	return "", status.Error(codes.Unauthenticated, "no bearer token in the metadata: set initial_metadata authorization in the bootstrap")
}
