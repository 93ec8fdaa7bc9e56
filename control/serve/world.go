package serve

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/wire"
)

// keepRemoved is how long a consumer that asks for a cluster by name keeps one that is
// gone, once it has its new routes: it asks for it no more as soon as nothing uses it.
const keepRemoved = time.Second

// world is the state-of-the-world variant on one stream. A response has everything
// of its type that the consumer subscribes to; of the types that it asks for by
// name, once it has that, only what is new: what such a response leaves out stays,
// by the protocol. Clusters that are gone are left out last, when all else was taken.
type world struct {
	session Session
	send    func(*response) error
	types   []*worldType // in serving order
	state   *State       // the newest that is known; nil before
	nonce   uint64
	settled uint64
	// removeAt is when clusters that are gone go; zero: none are, or not yet.
	removeAt time.Time
	// asked is when the consumer sent something last.
	asked time.Time
	wake  chan struct{}
	alarm *time.Timer // fires wake; nil until first needed
}

type worldType struct {
	url string
	// names asked for, sorted; none: all (of types that are whole only).
	names    []string
	answered bool
	asked    bool // the names changed since the last response
	entire   bool // State.Whole
	// nonce of the last response; busy until it is answered.
	nonce uint64
	busy  bool
	// seen is the set that was looked at last, and holds what the consumer has of it.
	seen  *resource.Set
	holds []*resource.Resource
	// last are the names of the last response.
	last []*resource.Resource
	// keeps: the consumer still has something that is gone.
	keeps bool
	// between is what it was handed for a while, by name; since is when that began.
	between map[string]*resource.Resource
	since   time.Time
}

func newWorld(s Session, send func(*response) error) *world {
	return &world{session: s, send: send, wake: make(chan struct{}, 1)}
}

func (w *world) timer() <-chan struct{} { return w.wake }

// know implements protocol.
func (w *world) know(s *State) { w.state = s }

// request implements protocol.
func (w *world) request(r *discoverypb.DiscoveryRequest) error {
	if err := checkNames(r.GetResourceNames()); err != nil {
		return err
	}
	if health(w.session, r.GetTypeUrl(), r.GetErrorDetail()) {
		return nil
	}
	i := slices.IndexFunc(w.types, func(t *worldType) bool { return t.url == r.GetTypeUrl() })
	var t *worldType
	if i >= 0 {
		t = w.types[i]
	} else {
		watch(w.session, r.GetTypeUrl())
		t = &worldType{url: r.GetTypeUrl(), asked: true, entire: w.state != nil && w.state.Whole}
		w.types = append(w.types, t)
		slices.SortStableFunc(w.types, func(a, b *worldType) int { return rank(a.url) - rank(b.url) })
	}
	if n := r.GetResponseNonce(); n != "" {
		if n != strconv.FormatUint(t.nonce, 10) {
			return nil // stale
		}
		w.answer(r, t)
	}
	w.asked = time.Now()
	names := r.GetResourceNames()
	if !slices.IsSorted(names) {
		names = slices.Clone(names)
		slices.Sort(names)
	}
	if !slices.Equal(names, t.names) {
		if len(names) > maxStrange {
			var set *resource.Set
			if w.state != nil {
				set = w.state.Set(t.url)
			}
			if err := tooStrange(strange(names, set)); err != nil {
				return err
			}
		}
		w.demand(t, names)
		t.names, t.asked = names, true
	}
	return nil
}

// demand tells the session what is asked for beyond what was, and what no more. Both
// lists are sorted.
func (w *world) demand(t *worldType, names []string) {
	s, ok := w.session.(Demander)
	if !ok {
		return
	}
	asked, dropped := lacking(names, t.names), lacking(t.names, names)
	if len(asked)+len(dropped) > 0 {
		s.Demand(t.url, asked, dropped, nil)
	}
}

// lacking are the names of a sorted list that another does not have.
func lacking(list, other []string) (out []string) {
	for _, name := range list {
		if _, has := slices.BinarySearch(other, name); !has {
			out = append(out, name)
		}
	}
	return out
}

// answer takes an ACK or NACK; a further request with the same nonce only
// changes the names.
func (w *world) answer(r *discoverypb.DiscoveryRequest, t *worldType) {
	if !t.busy {
		return
	}
	t.busy = false
	report := Report{Kind: Acked, Type: t.url, Names: (&unanswered{up: t.last}).names(), Resources: t.last}
	if r.GetErrorDetail() != nil {
		report.Kind, report.Error = Rejected, r.GetErrorDetail().GetMessage()
	}
	t.last = nil
	w.session.Report(report)
}

// pump implements protocol.
func (w *world) pump(s *State) error {
	remove := !w.removeAt.IsZero() && !time.Now().Before(w.removeAt)
	busy, keeps, between := false, false, false
	for _, t := range w.types {
		if !t.busy {
			w.cross(t)
			if err := w.flush(s, t, remove); err != nil {
				return err
			}
		}
		busy, keeps, between = busy || t.busy, keeps || t.keeps, between || len(t.between) > 0
	}
	switch {
	case busy || !keeps:
		w.removeAt = time.Time{}
	case w.removeAt.IsZero():
		w.removeLater()
	}
	switch {
	case between:
		w.lookIn(settleTime)
	case !w.removeAt.IsZero():
		w.lookIn(time.Until(w.removeAt))
	}
	if !busy && !keeps && !between && s.Version != w.settled {
		w.settled = s.Version
		w.session.Report(Report{Kind: Settled, Version: s.Version})
	}
	return nil
}

// removeLater says when clusters that are gone may go: at once
// where the consumer takes whatever there is, for it asks for nothing.
func (w *world) removeLater() {
	wait := time.Duration(0)
	for _, t := range w.types {
		if t.keeps && !t.all() {
			wait = keepRemoved
		}
	}
	w.removeAt = time.Now().Add(wait)
}

// lookIn has the stream looked at after a while.
func (w *world) lookIn(d time.Duration) {
	if w.alarm == nil {
		w.alarm = time.AfterFunc(d, func() {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		})
	} else {
		w.alarm.Reset(d)
	}
}

// all tells whether the consumer asks for everything of the type.
func (t *worldType) all() bool { return len(t.names) == 0 || slices.Contains(t.names, "*") }

// whole tells whether responses of the type always have everything, so that what
// they leave out is gone.
func (t *worldType) whole() bool {
	return t.entire || t.url == wire.TypeListener || t.url == wire.TypeCluster
}

// pick is what the consumer asks for of a set.
func (t *worldType) pick(set *resource.Set) []*resource.Resource {
	if t.all() {
		if t.whole() {
			return set.List()
		}
		return nil
	}
	var out []*resource.Resource
	for _, name := range t.names {
		if r := set.Get(name); r != nil {
			out = append(out, r)
		}
	}
	return out
}

// flush sends what is new of one type. Clusters that are gone go only when remove says so.
func (w *world) flush(s *State, t *worldType, remove bool) error {
	set := s.Set(t.url)
	if t.answered && !t.asked && t.seen.Same(set) && (!t.keeps || !remove) {
		return nil
	}
	if done, err := w.news(s, t, set); done {
		return err
	}
	list := t.pick(set)
	t.onTheWay(s, list)
	if t.keeps = false; t.url == wire.TypeCluster && !remove {
		list = t.keep(list)
	}
	fresh := t.fresh(list)
	t.seen = set
	same := len(fresh) == 0 && len(list) == len(t.holds)
	if t.answered && !t.asked && same {
		return nil
	}
	if len(list) == 0 && !t.whole() && same {
		t.asked = false
		return nil // nothing to say about names that do not exist
	}
	t.holds = list
	if t.answered && !t.asked && !t.whole() {
		if list = fresh; len(list) == 0 {
			return nil // what is gone cannot be said
		}
	}
	return w.respond(s, t, list)
}

// respond sends resources of one type.
func (w *world) respond(s *State, t *worldType, list []*resource.Resource) error {
	w.nonce++
	resp := newResponse(head{typeURL: t.url, version: s.Version, nonce: w.nonce}, len(list))
	report := Report{Kind: Sent, Type: t.url, Version: s.Version}
	for _, r := range list {
		resp.body = append(resp.body, r.World)
		report.Bytes += len(r.Body.GetValue())
	}
	t.answered, t.asked, t.busy, t.nonce, t.last = true, false, true, w.nonce, list
	if err := w.send(resp); err != nil {
		return err
	}
	w.session.Report(report)
	return nil
}

// news sends what has changed of a type that is asked for by name, where it is known
// which names may have. Not done: all have to be looked at.
func (w *world) news(s *State, t *worldType, set *resource.Set) (done bool, err error) {
	names, ok := set.Since(t.seen)
	if !ok || t.seen == nil || !t.answered || t.asked || t.whole() {
		return false, nil
	}
	t.seen = set
	names = slices.Clone(names)
	slices.Sort(names)
	var fresh []*resource.Resource
	for _, name := range slices.Compact(names) {
		if _, mine := slices.BinarySearch(t.names, name); !mine {
			continue
		}
		i, held := slices.BinarySearchFunc(t.holds, name, func(r *resource.Resource, n string) int { return cmp.Compare(r.Name, n) })
		r := set.Get(name)
		switch {
		case r == nil && held:
			t.holds = slices.Delete(t.holds, i, i+1) // what is gone cannot be said
		case r == nil:
		case !held:
			t.holds = slices.Insert(t.holds, i, r)
			fresh = append(fresh, r)
		case t.holds[i].Version != r.Version:
			r = t.lead(s, t.holds[i], r)
			t.holds[i] = r
			fresh = append(fresh, r)
		}
	}
	if len(fresh) == 0 {
		return true, nil
	}
	return true, w.respond(s, t, fresh)
}

// keep adds what the consumer has, and asks for, and is gone.
func (t *worldType) keep(list []*resource.Resource) []*resource.Resource {
	have := make(map[string]bool, len(list))
	for _, r := range list {
		have[r.Name] = true
	}
	n := len(list)
	for _, r := range t.holds {
		if have[r.Name] {
			continue
		}
		if _, asked := slices.BinarySearch(t.names, r.Name); asked || t.all() {
			list = append(list, r)
		}
	}
	if t.keeps = len(list) > n; t.keeps {
		slices.SortFunc(list, func(a, b *resource.Resource) int { return cmp.Compare(a.Name, b.Name) })
	}
	return list
}

// fresh is what of the list the consumer does not have. Both lists are sorted.
func (t *worldType) fresh(list []*resource.Resource) (out []*resource.Resource) {
	i := 0
	for _, r := range list {
		for i < len(t.holds) && t.holds[i].Name < r.Name {
			i++
		}
		if i < len(t.holds) && t.holds[i].Name == r.Name && t.holds[i].Version == r.Version {
			continue
		}
		out = append(out, r)
	}
	return out
}
