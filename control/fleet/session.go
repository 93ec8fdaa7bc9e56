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

// session is one connected proxy.
type session struct {
	fleet    *Fleet
	id       string
	proxy    scope.Proxy
	identity model.Key
	since    time.Time

	// building admits one build at a time, so that states come in order.
	building sync.Mutex
	state    atomic.Pointer[current]
	first    chan struct{} // closed with the first state

	mu    sync.Mutex
	types map[string]*TypeStatus
	// settled is the newest version that the proxy holds whole.
	settled uint64
}

// current is a state and the channel that its successor closes.
type current struct {
	state   *serve.State
	changed chan struct{}
}

func newSession(f *Fleet, id string, p scope.Proxy, identity model.Key) *session {
	return &session{
		fleet: f, id: id, proxy: p, identity: identity, since: time.Now(),
		first: make(chan struct{}), types: map[string]*TypeStatus{},
	}
}

// publish makes s the state, unless it is equal to the one before. It is called
// with building held.
func (p *session) publish(s *serve.State) bool {
	old := p.state.Load()
	if old == nil {
		p.state.Store(&current{s, make(chan struct{})})
		close(p.first)
		return true
	}
	equal := maps.EqualFunc(old.state.Sets, s.Sets, func(a, b *serve.Set) bool { return slices.Equal(a.List(), b.List()) })
	if equal {
		return false
	}
	p.state.Store(&current{s, make(chan struct{})})
	close(old.changed)
	return true
}

// State implements serve.Session.
func (p *session) State(ctx context.Context) (*serve.State, <-chan struct{}, error) {
	select {
	case <-p.first:
		cur := p.state.Load()
		return cur.state, cur.changed, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// Report implements serve.Session.
func (p *session) Report(r serve.Report) {
	p.fleet.metrics.report(r)
	if r.Kind == serve.Settled {
		p.mu.Lock()
		p.settled = r.Version
		p.mu.Unlock()
		if !p.proxy.Meta.Agent {
			p.fleet.events.settled(p.id, r.Version)
		}
		return
	}
	p.mu.Lock()
	t := p.types[r.Type]
	if t == nil {
		t = &TypeStatus{}
		p.types[r.Type] = t
	}
	switch r.Kind {
	case serve.Sent:
		t.Sent++
		t.Bytes += r.Bytes
	case serve.Acked:
		t.Acked++
		t.Error = ""
	case serve.Rejected:
		t.Rejected++
		t.Error = r.Error
	}
	p.mu.Unlock()
	if r.Kind == serve.Rejected {
		p.fleet.log.Error("proxy rejected configuration", "proxy", p.id, "type", r.Type, "error", r.Error)
		p.fleet.events.rejected(p.name(), r)
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
