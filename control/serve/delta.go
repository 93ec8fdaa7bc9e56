package serve

import (
	"slices"
	"strconv"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/wire"
)

// holdRoutes bounds how long listeners and routes wait for the endpoints of
// new clusters to be taken: a consumer that does not ask for them must not be
// kept from its routes.
const holdRoutes = time.Second

// delta is the delta variant on one stream.
type delta struct {
	session Session
	send    func(*discoverypb.DeltaDiscoveryResponse) error
	types   map[string]*deltaType
	nonce   uint64

	// awaited are the names of new clusters whose endpoints the consumer has
	// not taken yet; until is when it stops to matter.
	awaited map[string]bool
	until   time.Time
	wake    chan struct{}
	alarm   *time.Timer // fires wake; nil until first needed
	settled uint64
}

// deltaType is what the consumer subscribes to of one type, and holds of it.
type deltaType struct {
	wildcard bool
	// subs are the names asked for. forced ones are sent even if held.
	subs, forced map[string]bool
	// sent is the version last sent by name; absent when the name was answered
	// with "there is none".
	sent map[string]string
	// answered: there has been a first response.
	answered bool
	// pending is the nonce of the unanswered response.
	pending      string
	pendingNames []string
	rejected     bool
}

const absent = ""

func newDelta(s Session, send func(*discoverypb.DeltaDiscoveryResponse) error) *delta {
	return &delta{
		session: s, send: send,
		types:   map[string]*deltaType{},
		awaited: map[string]bool{},
		wake:    make(chan struct{}, 1),
	}
}

func (d *delta) timer() <-chan struct{} { return d.wake }

// request implements protocol.
func (d *delta) request(r *discoverypb.DeltaDiscoveryRequest) error {
	t := d.types[r.GetTypeUrl()]
	if t == nil {
		t = &deltaType{subs: map[string]bool{}, forced: map[string]bool{}, sent: map[string]string{}}
		t.wildcard = len(r.GetResourceNamesSubscribe()) == 0
		for name, version := range r.GetInitialResourceVersions() {
			t.sent[name] = version
		}
		d.types[r.GetTypeUrl()] = t
	}
	if r.GetResponseNonce() != "" {
		d.answer(r, t)
	}
	for _, name := range r.GetResourceNamesSubscribe() {
		if name == "*" {
			t.wildcard = true
			continue
		}
		t.subs[name] = true
		if r.GetInitialResourceVersions()[name] == "" {
			t.forced[name] = true
		}
	}
	for _, name := range r.GetResourceNamesUnsubscribe() {
		if name == "*" {
			t.wildcard = false
			continue
		}
		delete(t.subs, name)
		delete(t.forced, name)
		if !t.wildcard {
			delete(t.sent, name)
		}
	}
	return nil
}

// answer takes an ACK or NACK. Stale nonces are ignored, as the protocol asks.
func (d *delta) answer(r *discoverypb.DeltaDiscoveryRequest, t *deltaType) {
	if r.GetResponseNonce() != t.pending {
		return
	}
	report := Report{Kind: Acked, Type: r.GetTypeUrl(), Names: t.pendingNames}
	t.rejected = r.GetErrorDetail() != nil
	if t.rejected {
		report.Kind, report.Error = Rejected, r.GetErrorDetail().GetMessage()
	}
	if r.GetTypeUrl() == wire.TypeEndpoint {
		for _, name := range t.pendingNames {
			delete(d.awaited, name)
		}
	}
	t.pending, t.pendingNames = "", nil
	d.session.Report(report)
}

// pump implements protocol.
func (d *delta) pump(s *State) error {
	for _, url := range ranked(d.types) {
		t := d.types[url]
		if t.pending != "" || d.holds(url, t) {
			continue
		}
		if err := d.flush(s, url, t, d.mayRemove(s, url)); err != nil {
			return err
		}
	}
	if s.Version != d.settled && d.isSettled(s) {
		d.settled = s.Version
		d.session.Report(Report{Kind: Settled, Version: s.Version})
	}
	return nil
}

// holds tells whether a listener or route must wait for endpoints.
func (d *delta) holds(url string, t *deltaType) bool {
	if url != wire.TypeListener && url != wire.TypeRoute || !t.answered || len(d.awaited) == 0 {
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
	return d.upToDate(s, wire.TypeListener) && d.upToDate(s, wire.TypeRoute)
}

func (d *delta) upToDate(s *State, url string) bool {
	t := d.types[url]
	if t == nil {
		return true
	}
	if t.pending != "" {
		return false
	}
	up, gone := t.diff(s.Set(url), true)
	return len(up) == 0 && len(gone) == 0
}

func (d *delta) isSettled(s *State) bool {
	for url := range d.types {
		if !d.upToDate(s, url) {
			return false
		}
	}
	return true
}

// diff returns what the consumer lacks and what it should drop.
func (t *deltaType) diff(set *Set, removals bool) (up []*Resource, gone []string) {
	if t.wildcard {
		for _, r := range set.List() {
			if v, ok := t.sent[r.Name]; !ok || v != r.Version || t.forced[r.Name] {
				up = append(up, r)
			}
		}
	} else {
		for name := range t.subs {
			r := set.Get(name)
			if r == nil {
				continue
			}
			if v, ok := t.sent[name]; !ok || v != r.Version || t.forced[name] {
				up = append(up, r)
			}
		}
		slices.SortFunc(up, func(a, b *Resource) int { return compare(a.Name, b.Name) })
	}
	// A name that was asked for and does not exist is answered at once.
	for name := range t.subs {
		if set.Get(name) == nil {
			if v, ok := t.sent[name]; !ok || t.forced[name] || (removals && v != absent) {
				gone = append(gone, name)
			}
		}
	}
	if removals {
		for name, v := range t.sent {
			if v != absent && !t.subs[name] && set.Get(name) == nil {
				gone = append(gone, name)
			}
		}
	}
	slices.Sort(gone)
	return up, gone
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// flush sends the difference of one type, if there is one.
func (d *delta) flush(s *State, url string, t *deltaType, removals bool) error {
	up, gone := t.diff(s.Set(url), removals)
	if len(up) == 0 && len(gone) == 0 && (t.answered || !t.wildcard) {
		return nil
	}
	d.nonce++
	resp := &discoverypb.DeltaDiscoveryResponse{
		TypeUrl:           url,
		SystemVersionInfo: strconv.FormatUint(s.Version, 10),
		Nonce:             strconv.FormatUint(d.nonce, 10),
		RemovedResources:  gone,
		Resources:         make([]*discoverypb.Resource, 0, len(up)),
	}
	names := make([]string, 0, len(up)+len(gone))
	bytes := 0
	for _, r := range up {
		resp.Resources = append(resp.Resources, &discoverypb.Resource{Name: r.Name, Version: r.Version, Resource: r.Body})
		names = append(names, r.Name)
		bytes += len(r.Body.GetValue())
	}
	if url == wire.TypeCluster {
		d.await(s, t, up)
	}
	for _, r := range up {
		t.sent[r.Name] = r.Version
		delete(t.forced, r.Name)
	}
	for _, name := range gone {
		delete(t.forced, name)
		if t.subs[name] {
			t.sent[name] = absent
		} else {
			delete(t.sent, name)
		}
		names = append(names, name)
	}
	t.answered, t.pending, t.pendingNames = true, resp.GetNonce(), names
	if err := d.send(resp); err != nil {
		return err
	}
	d.session.Report(Report{Kind: Sent, Type: url, Version: s.Version, Names: names, Bytes: bytes})
	return nil
}

// await notes which endpoints the consumer will ask for, or must get again,
// because of the clusters that go out now: a changed cluster is warmed with
// fresh endpoints, although their subscription does not change.
func (d *delta) await(s *State, t *deltaType, up []*Resource) {
	endpoints := d.types[wire.TypeEndpoint]
	set := s.Set(wire.TypeEndpoint)
	for _, r := range up {
		if set.Get(r.Name) == nil {
			continue
		}
		if endpoints != nil && endpoints.subs[r.Name] {
			endpoints.forced[r.Name] = true
		}
		if t.answered {
			d.awaited[r.Name] = true
			d.until = time.Now().Add(holdRoutes)
		}
	}
}
