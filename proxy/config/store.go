package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Clusters is what the Store needs of the cluster manager.
type Clusters interface {
	Update(set []*cluster.Spec, remove []string) error
	SetEndpoints(service string, e *cluster.Endpoints) error
	ForgetEndpoints(service string)
	WaitReady(ctx context.Context, names ...string) (missing []string)
	// Activity is a number that grows when a cluster is used; busy: it is just now.
	Activity(name string) (uses uint64, busy bool)
}

// Subscriber is what the Store needs of the ADS client; nil when everything is
// static.
type Subscriber interface {
	Subscribe(typeURL string, names ...string)
	Unsubscribe(typeURL string, names ...string)
	SubscribeAll(typeURL string)
	Forget(typeURL string, names ...string)
}

// Options of a Store.
type Options struct {
	Decoder  *Decoder
	Clusters Clusters
	// Listeners makes all the set of listeners (listener.Manager.Update).
	Listeners func(ctx context.Context, all []*listener.Listener) error
	Secrets   *transport.SecretStore
	// NeedIdentity is called once, when the first resource refers to the proxy's
	// own certificate or roots. It must not block.
	NeedIdentity func()
	// PushedRoots: the control plane says over ADS whom to trust, as the secret ROOTCA, and
	// is asked for it with the identity.
	PushedRoots bool
	// Local is told when the first resource refers to a secret that does not come over
	// ADS and is not the identity (wanted), and when none does any more.
	Local func(name string, wanted bool)
	// Others take types that are no business of this package, by type URL.
	Others map[string]xds.Handler
	// DemandIdle is how long what came on demand is kept without use; 0: half an hour.
	DemandIdle time.Duration
	Log        *slog.Logger
}

// Store holds the configuration: what arrived, what waits for something else,
// and what is in effect. It is safe for concurrent use; updates of one type
// must come in order.
type Store struct {
	opt Options

	mu  sync.Mutex
	ads Subscriber
	// ctx is Run's, nil before.
	ctx context.Context
	wg  sync.WaitGroup // waits for clusters

	clusters   map[string]*heldCluster
	listeners  map[string]*heldListener
	routes     map[string]*routeCell
	extensions map[string]*extensionCell
	endpoints  map[string]*heldEndpoints // by service name
	secrets    map[string]*heldSecret
	waits      map[waitKey]*wait
	// ready are clusters that have been seen ready.
	ready         map[string]bool
	wantsIdentity bool
	// rootsPushed: the control plane has said whom to trust; guarded by rootsMu.
	rootsMu     sync.Mutex
	rootsPushed bool
	locals      map[string]int // references to secrets by name
	files       map[string]*heldFile
	watching    bool // a goroutine looks at files
	// early are waits for clusters from before Run.
	early []func()
	// bindErrors are what the listener manager refused since they were read.
	bindErrors []error
	// fail ends Run: a static listener has no last good version, and who starts the proxy should know.
	fail context.CancelCauseFunc
	// gate is open when the first clusters are ready: before, no listener of
	// the control plane goes live.
	gate     gate
	records  map[recordKey]*Record
	order    uint64
	activity atomic.Int64 // changes in effect, for tests and logs

	// demand is what requests ask for.
	demand *demand
	// sawHosts: the control plane has told of virtual hosts once; hostWaits wait for that.
	sawHosts  bool
	hostWaits []func()
	// runtimeNeeds are the layers of the runtime that come over ADS.
	runtimeNeeds []need
	// scopes that have arrived, by name; scopeTable is what is made of them.
	scopes                 map[string]*heldScope
	scopeTable             atomic.Pointer[route.Scopes]
	scopeStats             map[string]*scopeStats
	scopedRoutes           time.Duration // wait for a scope's routes
	scopesAsked, sawScopes bool
	uses                   map[string]uint64 // of clusters on demand, at the last sweep
}

type gate uint8

const (
	gateShut gate = iota
	gateWaiting
	gateReady // but some cluster waits for secrets
	gateOpen
)

// heldCluster is a cluster. next waits for secrets; active is in the manager.
type heldCluster struct {
	active, next *clusterConfig
	static       bool
	// removed: the control plane took it away, but a route still names it, or
	// did so until unnamed.
	removed bool
	unnamed time.Time
}

// heldListener is a listener. next waits for routes, secrets or the gate.
type heldListener struct {
	active, next *listenerConfig
	static       bool
	order        uint64
}

// heldEndpoints counts who wants a service's endpoints.
type heldEndpoints struct {
	refs    int
	arrived bool
}

// heldSecret counts who wants a secret over ADS.
type heldSecret struct{ refs int }

// routeCell is a route configuration by name. A cell is never dropped: chains
// that survive updates of their listener hold it.
type routeCell struct {
	table atomic.Pointer[route.Table]
	refs  int
	// unasked counts who wants it without a subscription: scopes on demand, and
	// those that bring their routes with them.
	unasked int
	// clusters are those that the table in effect names, pending those that one
	// names which waits for them.
	clusters, pending []string
	// hosts are those that come on demand; nil: none do.
	hosts *hostSet
	// generation counts arrivals, so that a wait for clusters knows whether
	// it is still the newest.
	generation uint64
}

// NewStore returns an empty Store.
func NewStore(opt Options) *Store {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		opt: opt, clusters: map[string]*heldCluster{}, listeners: map[string]*heldListener{}, routes: map[string]*routeCell{},
		endpoints: map[string]*heldEndpoints{}, secrets: map[string]*heldSecret{}, waits: map[waitKey]*wait{},
		extensions: map[string]*extensionCell{}, ready: map[string]bool{}, records: map[recordKey]*Record{},
		demand: newDemand(), uses: map[string]uint64{},
		scopes: map[string]*heldScope{}, scopeStats: map[string]*scopeStats{}, scopedRoutes: defaultFetchTimeout,
		files: map[string]*heldFile{},
	}
	if s.opt.DemandIdle == 0 {
		s.opt.DemandIdle = demandIdle
	}
	opt.Decoder.Routes = s.routesOf
	opt.Decoder.Extensions = s.extensionOf
	opt.Decoder.AskCluster = s.AskCluster
	opt.Decoder.Scopes = s.scopesNow
	return s
}

// Run lets listeners be bound and waits be waited for, until ctx ends, or a static listener
// cannot be bound: that is its error then.
func (s *Store) Run(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	s.mu.Lock()
	s.ctx, s.fail = ctx, fail
	for _, f := range s.early {
		f()
	}
	s.early = nil
	s.watchFiles()
	s.progressLocked()
	s.mu.Unlock()
	s.sweepUntil(ctx)
	s.demand.stop()
	s.mu.Lock()
	s.ctx = nil
	for k, w := range s.waits {
		w.timer.Stop()
		delete(s.waits, k)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return context.Cause(ctx)
}

// Connect tells where to subscribe to what is referred to. It subscribes at
// once to what is known already.
func (s *Store) Connect(ads Subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ads = ads
	s.demand.connect(ads)
	for typeURL, names := range map[string][]string{
		wire.TypeEndpoint:  wantedOf(s.endpoints, func(h *heldEndpoints) int { return h.refs }),
		wire.TypeSecret:    wantedOf(s.secrets, func(h *heldSecret) int { return h.refs }),
		wire.TypeRoute:     wantedOf(s.routes, func(h *routeCell) int { return h.refs }),
		wire.TypeExtension: wantedOf(s.extensions, func(h *extensionCell) int { return h.refs }),
	} {
		if len(names) > 0 {
			ads.Subscribe(typeURL, names...)
		}
	}
	if names := s.opt.Decoder.Runtime.Resources(); len(names) > 0 {
		ads.Subscribe(wire.TypeRuntime, names...)
	}
	if s.scopesAsked {
		ads.SubscribeAll(wire.TypeScope)
	}
}

func wantedOf[T any](m map[string]T, refs func(T) int) []string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(m)) {
		if refs(m[n]) > 0 {
			out = append(out, n)
		}
	}
	return out
}

// Apply is the Handler of the ADS client.
func (s *Store) Apply(u xds.Update) []xds.Rejection {
	if h := s.opt.Others[u.Type]; h != nil {
		return h(u)
	}
	var rejected []xds.Rejection
	switch u.Type {
	case wire.TypeCluster:
		rejected = s.applyClusters(u)
	case wire.TypeEndpoint:
		rejected = s.applyEndpoints(u)
	case wire.TypeListener:
		rejected = s.applyListeners(u)
	case wire.TypeRoute:
		rejected = s.applyRoutes(u)
	case wire.TypeRuntime:
		rejected = s.applyRuntime(u)
	case wire.TypeScope:
		rejected = s.applyScopes(u)
	case wire.TypeVirtualHost:
		rejected = s.applyHosts(u)
	case wire.TypeSecret:
		rejected = s.applySecrets(u)
	case wire.TypeExtension:
		rejected = s.applyExtensions(u)
	default:
		for _, r := range u.Set {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: fmt.Errorf("resources of the type %s are not supported", u.Type)})
		}
		return rejected
	}
	s.record(u, rejected)
	return rejected
}

// routesOf gives a connection manager its routes by name.
func (s *Store) routesOf(name string) func() *route.Table {
	// Decoding happens without the lock.
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cellLocked(name).table.Load
}

func (s *Store) cellLocked(name string) *routeCell {
	c := s.routes[name]
	if c == nil {
		c = &routeCell{}
		s.routes[name] = c
	}
	return c
}

// LocalChanged is to be called when secrets that do not come over ADS have been
// set, with what is to be shown of them.
func (s *Store) LocalChanged(secrets ...*tlsv3.Secret) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range secrets {
		body, err := anypb.New(withoutKey(m))
		if err != nil {
			continue // it is for people only
		}
		s.records[recordKey{wire.TypeSecret, m.Name}] = &Record{
			Type: wire.TypeSecret, Name: m.Name, Version: contentHash(m), Body: body, Updated: now,
		}
	}
	s.progressLocked()
}

// Live tells whether the first listeners have gone live: the proxy is ready.
// Without any listener it is live when clusters are.
func (s *Store) Live() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != gateOpen && s.ads != nil {
		return false
	}
	for _, h := range s.listeners {
		if h.active == nil {
			return false
		}
	}
	return true
}

// OpenGate lets listeners go live before any clusters came; for configurations without CDS.
func (s *Store) OpenGate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = gateOpen
	s.progressLocked()
}

// progressLocked puts into effect what has nothing left to wait for.
func (s *Store) progressLocked() {
	if s.ctx == nil {
		return
	}
	s.progressClusters()
	if s.gate == gateReady && !s.clustersWait() {
		s.gate = gateOpen
	}
	s.progressListeners()
	s.dropRemoved()
}

func (s *Store) progressClusters() {
	var now []*heldCluster
	for _, n := range slices.Sorted(maps.Keys(s.clusters)) {
		if h := s.clusters[n]; h.next != nil && s.haveSecrets(h.next.secrets) {
			now = append(now, h)
		}
	}
	for _, r := range s.enterBatch(now) {
		s.opt.Log.Error("cluster: not taken after it had been accepted", "cluster", r.Name, "error", r.Err)
	}
}

// clustersWait tells whether some cluster is not in effect at all, for want of secrets.
func (s *Store) clustersWait() bool {
	for _, h := range s.clusters {
		if h.active == nil && h.next != nil {
			return true
		}
	}
	return false
}

// enter hands a cluster to the manager.
func (s *Store) enter(h *heldCluster) error {
	if err := s.opt.Clusters.Update([]*cluster.Spec{h.next.spec}, nil); err != nil {
		return err
	}
	s.entered(h)
	return nil
}

func (s *Store) entered(h *heldCluster) {
	s.unrefCluster(h.active)
	h.active, h.next = h.next, nil
	s.activity.Add(1)
	s.clusterEntered(h.active.spec.Name)
}

func (s *Store) progressListeners() {
	if !s.haveRuntime() {
		return
	}
	before := map[string]*listenerConfig{}
	for n, h := range s.listeners {
		if h.next == nil || (s.gate != gateOpen && !h.static) {
			continue
		}
		if s.haveRoutes(h.next.routes) && s.haveSecrets(h.next.secrets) && s.haveExtensions(h.next.extensions) && s.haveScopes(h.next.scoped) {
			before[n] = h.active
			h.active, h.next = h.next, nil
		}
	}
	if len(before) == 0 {
		return
	}
	s.updateListeners()
	for _, err := range s.bindErrors {
		var e *listener.Error
		if !errors.As(err, &e) {
			continue
		}
		old, changed := before[e.Listener]
		if h := s.listeners[e.Listener]; changed && h != nil {
			before[e.Listener], h.active = h.active, old // the last good one stays
			if h.active == nil {
				delete(s.listeners, e.Listener)
			}
			if h.static && old == nil {
				s.fail(fmt.Errorf("static_resources.listeners: %w", e))
			}
		}
	}
	for _, old := range before {
		s.unrefListener(old)
	}
}

// updateListeners hands all listeners in effect to their manager. One that it
// refuses keeps its last good version there.
func (s *Store) updateListeners() {
	var held []*heldListener
	for _, h := range s.listeners {
		if h.active != nil {
			held = append(held, h)
		}
	}
	slices.SortFunc(held, func(a, b *heldListener) int { return cmp.Compare(a.order, b.order) })
	all := make([]*listener.Listener, len(held))
	for i, h := range held {
		all[i] = h.active.listener
	}
	s.activity.Add(1)
	s.bindErrors = nil
	if s.ctx == nil {
		return
	}
	err := s.opt.Listeners(s.ctx, all)
	if err == nil {
		return
	}
	s.opt.Log.Error("listeners: not all are in effect", "error", err)
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		s.bindErrors = many.Unwrap()
	}
}

func (s *Store) haveSecrets(needs []need) bool {
	for _, n := range needs {
		if !s.opt.Secrets.Get(n.name).Ready() && !s.gaveUp(waitKey{wire.TypeSecret, n.name}) {
			return false
		}
	}
	return true
}

func (s *Store) haveRoutes(needs []need) bool {
	for _, n := range needs {
		if s.cellLocked(n.name).table.Load() == nil && !s.gaveUp(waitKey{wire.TypeRoute, n.name}) {
			return false
		}
	}
	return true
}

// waitKey names something that is waited for.
type waitKey struct{ typeURL, name string }

// wait is a wait that ends by timer.
type wait struct {
	timer *time.Timer
	over  bool
}

func (s *Store) gaveUp(k waitKey) bool {
	w := s.waits[k]
	return w != nil && w.over
}

// await begins the wait for something, unless there is one or none is due.
func (s *Store) await(k waitKey, timeout time.Duration, then func()) {
	if timeout == 0 || s.waits[k] != nil {
		return
	}
	w := &wait{}
	w.timer = time.AfterFunc(timeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waits[k] != w {
			return
		}
		w.over = true
		s.opt.Log.Warn("configuration: gave up waiting; check that the control plane has it", "type", k.typeURL, "name", k.name, "after", timeout)
		if then != nil {
			then()
		}
		s.progressLocked()
	})
	s.waits[k] = w
}

// arrived ends a wait.
func (s *Store) arrived(k waitKey) {
	if w := s.waits[k]; w != nil {
		w.timer.Stop()
		delete(s.waits, k)
	}
}
