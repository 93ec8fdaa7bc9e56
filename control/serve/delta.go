package serve

import (
	"maps"
	"slices"
	"strconv"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/wire"
)

// holdRoutes bounds how long listeners and routes wait for the endpoints of
// new clusters to be taken: a consumer that does not ask for them must not be
// kept from its routes.
const holdRoutes = time.Second

// delta is the delta variant on one stream.
type delta struct {
	session Session
	send    func(*response) error
	types   []*deltaType // in serving order
	state   *State       // the newest that is known; nil before
	nonce   uint64

	// awaited are the names of new clusters whose endpoints the consumer has
	// not taken yet; until is when it stops to matter.
	awaited map[string]bool
	until   time.Time
	wake    chan struct{}
	alarm   *time.Timer // fires wake; nil until first needed
	settled uint64
	// strange is at least how many names were asked for that do not exist.
	strange int
}

func newDelta(s Session, send func(*response) error) *delta {
	return &delta{session: s, send: send, awaited: map[string]bool{}, wake: make(chan struct{}, 1)}
}

func (d *delta) timer() <-chan struct{} { return d.wake }

// know implements protocol.
func (d *delta) know(s *State) { d.state = s }

// of returns what the consumer subscribes to of a type, or nil.
func (d *delta) of(url string) *deltaType {
	for _, t := range d.types {
		if t.url == url {
			return t
		}
	}
	return nil
}

// request implements protocol.
func (d *delta) request(r *discoverypb.DeltaDiscoveryRequest) error {
	if err := d.admit(r); err != nil {
		return err
	}
	if health(d.session, r.GetTypeUrl(), r.GetErrorDetail()) {
		return nil
	}
	t := d.of(r.GetTypeUrl())
	if t == nil {
		watch(d.session, r.GetTypeUrl())
		t = newDeltaType(r)
		at := slices.IndexFunc(d.types, func(x *deltaType) bool { return rank(x.url) > rank(t.url) })
		if at < 0 {
			at = len(d.types)
		}
		d.types = slices.Insert(d.types, at, t)
	}
	if r.GetResponseNonce() != "" {
		d.answer(r, t)
	}
	d.demand(r)
	var set *resource.Set
	if d.state != nil {
		set = d.state.Set(t.url)
	}
	t.subscribe(r.GetResourceNamesSubscribe(), r.GetInitialResourceVersions(), set)
	t.unsubscribe(r.GetResourceNamesUnsubscribe())
	return nil
}

// admit bounds what a consumer may ask for.
func (d *delta) admit(r *discoverypb.DeltaDiscoveryRequest) error {
	names := r.GetResourceNamesSubscribe()
	if held := r.GetInitialResourceVersions(); len(held) > 0 {
		names = slices.AppendSeq(slices.Clone(names), maps.Keys(held))
	}
	if err := checkNames(names); err != nil {
		return err
	}
	var set *resource.Set
	if d.state != nil {
		set = d.state.Set(r.GetTypeUrl())
	}
	more := strange(names, set)
	if d.strange += more; d.strange <= maxStrange {
		return nil
	}
	// Some may exist by now, and others be given up.
	d.strange = more
	for _, t := range d.types {
		for i := range t.list {
			if d.state == nil || d.state.Set(t.url).Get(t.list[i].resource.Name) == nil {
				d.strange++
			}
		}
	}
	return tooStrange(d.strange)
}

// demand tells the session what is asked for.
func (d *delta) demand(r *discoverypb.DeltaDiscoveryRequest) {
	s, ok := d.session.(Demander)
	if !ok {
		return
	}
	asked, gone, held := r.GetResourceNamesSubscribe(), r.GetResourceNamesUnsubscribe(), r.GetInitialResourceVersions()
	if len(asked)+len(gone)+len(held) > 0 {
		s.Demand(r.GetTypeUrl(), asked, gone, held)
	}
}

// answer takes an ACK or NACK. Stale nonces are ignored, as the protocol asks.
func (d *delta) answer(r *discoverypb.DeltaDiscoveryRequest, t *deltaType) {
	if t.pending == nil || r.GetResponseNonce() != strconv.FormatUint(t.pending.nonce, 10) {
		return
	}
	report := Report{Kind: Acked, Type: t.url, Names: t.pending.names(), Resources: t.pending.up}
	if r.GetErrorDetail() != nil {
		report.Kind, report.Error = Rejected, r.GetErrorDetail().GetMessage()
	}
	if t.url == wire.TypeEndpoint && len(d.awaited) > 0 {
		for _, name := range report.Names {
			delete(d.awaited, name)
		}
	}
	t.pending = nil
	d.session.Report(report)
}

// pump implements protocol.
func (d *delta) pump(s *State) error {
	d.state = s
	for _, t := range d.types {
		if t.pending != nil || d.holds(t) {
			continue
		}
		if err := d.flush(s, t); err != nil {
			return err
		}
	}
	if s.Version != d.settled && d.isSettled(s) {
		d.settled = s.Version
		d.session.Report(Report{Kind: Settled, Version: s.Version})
	}
	return nil
}

// holds tells whether a listener, route or virtual host must wait for endpoints.
func (d *delta) holds(t *deltaType) bool {
	if len(d.awaited) == 0 || !t.answered || t.url != wire.TypeListener && t.url != wire.TypeRoute && t.url != wire.TypeVirtualHost {
		return false
	}
	left := time.Until(d.until)
	if left <= 0 {
		clear(d.awaited)
		return false
	}
	if d.alarm == nil {
		d.alarm = time.AfterFunc(left, func() {
			select {
			case d.wake <- struct{}{}:
			default:
			}
		})
	} else {
		d.alarm.Reset(left)
	}
	return true
}

// mayRemove tells whether removals of the type may go out: those of clusters
// and endpoints wait until listeners and routes are up to date.
func (d *delta) mayRemove(s *State, url string) bool {
	if url != wire.TypeCluster && url != wire.TypeEndpoint {
		return true
	}
	for _, t := range d.types {
		if (t.url == wire.TypeListener || t.url == wire.TypeRoute || t.url == wire.TypeVirtualHost) && !t.upToDate(s.Set(t.url)) {
			return false
		}
	}
	return true
}

func (d *delta) isSettled(s *State) bool {
	for _, t := range d.types {
		if !t.upToDate(s.Set(t.url)) {
			return false
		}
	}
	return true
}

// flush sends the difference of one type, if there is one.
func (d *delta) flush(s *State, t *deltaType) error {
	set := s.Set(t.url)
	diff := t.diff(set)
	if len(diff.removed) > 0 && !d.mayRemove(s, t.url) {
		t.later(diff.removed)
		diff.removed = nil
	}
	if diff.empty() && (t.answered || !t.wildcard) {
		return nil
	}
	gone := diff.gone()
	d.nonce++
	resp := newResponse(head{t.url, s.Version, d.nonce, gone}, len(diff.up))
	bytes := 0
	for _, r := range diff.up {
		resp.body = append(resp.body, r.Delta)
		bytes += len(r.Body.GetValue())
	}
	if t.url == wire.TypeCluster {
		d.await(s, t, diff.up)
	}
	t.list = t.list.sent(diff.up).gone(gone)
	t.answered, t.pending = true, &unanswered{d.nonce, diff.up, gone}
	if err := d.send(resp); err != nil {
		return err
	}
	d.session.Report(Report{Kind: Sent, Type: t.url, Version: s.Version, Bytes: bytes})
	return nil
}

// await notes which endpoints the consumer will ask for, or must get again,
// because of the clusters that go out now: a changed cluster is warmed with
// fresh endpoints, although their subscription does not change.
func (d *delta) await(s *State, t *deltaType, up []*resource.Resource) {
	endpoints := d.of(wire.TypeEndpoint)
	if endpoints == nil && !t.answered {
		return
	}
	set := s.Set(wire.TypeEndpoint)
	for _, r := range up {
		if set.Get(r.Name) == nil {
			continue
		}
		if endpoints != nil {
			endpoints.force(r.Name)
		}
		if t.answered {
			d.awaited[r.Name] = true
			d.until = time.Now().Add(holdRoutes)
		}
	}
}
