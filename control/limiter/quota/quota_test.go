package quota

import (
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire/weftpb"
)

const id = "default/a/spec.descriptors[0]"

// testBook has one quota, and a clock that stands.
func testBook(limit float64, interval time.Duration) (*Book, *time.Time) {
	b := NewBook()
	now := time.Unix(1000, 0)
	b.now = func() time.Time { return now }
	follow(b, limit, interval, true)
	return b, &now
}

func follow(b *Book, limit float64, interval time.Duration, on bool) {
	l := &model.SmartLimiter{Domain: "slime", Rules: []model.LimitRule{{Strategy: model.LimitGlobal, Interval: interval, Key: "k", Value: "v", Headers: []model.LimitHeader{{Name: "why", Value: "quota"}}}}}
	b.Follow([]*model.Limits{{Limiter: l, Quotas: []model.LimitQuota{{Active: on, Quota: limit, ID: id}}}})
}

func newSession() *session {
	return &session{out: map[place]*weftpb.Grant{}, ready: make(chan struct{}, 1), held: map[place]bool{}}
}

// got takes what a session has been granted.
func got(s *session) *weftpb.Grant {
	g := s.out[place{id: id}]
	clear(s.out)
	if g == nil {
		g = &weftpb.Grant{}
	}
	return g
}

// TestNoTokenTwice: 20 proxies that want ten times the quota get it, to the token, and equal parts of it.
func TestNoTokenTwice(t *testing.T) {
	b, now := testBook(1000, time.Second)
	var all []*session
	granted := map[*session]float64{}
	for range 20 {
		all = append(all, newSession())
	}
	ask := func() {
		for _, s := range all {
			b.ask(s, &weftpb.Ask{Id: id, Want: 125})
			granted[s] += got(s).Tokens
		}
	}
	ask()
	clear(granted) // what the bucket held
	for b.buckets[place{id: id}].level >= 1 {
		b.deal()
		for _, s := range all {
			got(s)
		}
	}
	for range 600 { // 30 s
		*now = now.Add(Deal)
		b.deal()
		ask()
	}
	sum, least, most := 0.0, 1e9, 0.0
	for _, s := range all {
		sum += granted[s]
		least, most = min(least, granted[s]), max(most, granted[s])
	}
	for _, s := range all {
		sum += got(s).Tokens
	}
	if sum < 29_990 || sum > 30_001 {
		t.Errorf("%v tokens in 30 s, want 30000", sum)
	}
	if most > least*1.1 {
		t.Errorf("parts from %v to %v", least, most)
	}
}

func TestCreditIsPaidBack(t *testing.T) {
	b, now := testBook(2, time.Minute)
	first, second := newSession(), newSession()
	b.ask(first, &weftpb.Ask{Id: id})
	b.ask(second, &weftpb.Ask{Id: id})
	if g := got(second); g.Credit != 1 || g.Remaining != 2 {
		t.Fatalf("%v", g)
	}
	for range 2 { // both take one on credit, and another before they hear of it
		b.ask(first, &weftpb.Ask{Id: id, Spent: 1})
		b.ask(second, &weftpb.Ask{Id: id, Spent: 1})
	}
	if g := got(first); g.Credit != 0 || g.Tokens != 0 {
		t.Errorf("%v", g)
	}
	*now = now.Add(89 * time.Second) // 2.97 tokens: the debt of two, and not yet one
	b.ask(first, &weftpb.Ask{Id: id, Want: 1})
	if g := got(first); g.Tokens != 0 || g.Reset_.AsDuration() <= 0 {
		t.Errorf("%v", g)
	}
	*now = now.Add(2 * time.Second)
	b.deal()
	if g := got(first); g.Tokens != 1 {
		t.Errorf("%v", g)
	}
}

// TestCreditIsBounded: however proxies come, their credit is no more than half of what there is, or one each.
func TestCreditIsBounded(t *testing.T) {
	b, _ := testBook(1000, time.Second)
	sum := 0.0
	for range 20 {
		s := newSession()
		b.ask(s, &weftpb.Ask{Id: id})
		sum += got(s).Credit
	}
	if sum > 500+20 {
		t.Errorf("credit of %v", sum)
	}
}

// TestAfterAStart: proxies that were on their own find an empty bucket, and what they took since counts.
func TestAfterAStart(t *testing.T) {
	b, now := testBook(1000, time.Second)
	first, second := newSession(), newSession()
	b.ask(first, &weftpb.Ask{Id: id, Want: 500, Offline: 1000, Away: durationpb.New(2 * time.Second)})
	if g := got(first); g.Tokens != 0 {
		t.Errorf("granted %v of an empty bucket", g.Tokens)
	}
	*now = now.Add(200 * time.Millisecond)
	// It took 500/s, of which 100 were while the bucket had begun to fill.
	b.ask(second, &weftpb.Ask{Id: id, Want: 1, Offline: 1100, Away: durationpb.New(2200 * time.Millisecond)})
	if x := b.buckets[place{id: id}]; x.level < 99 || x.level > 101 {
		t.Errorf("level %v, want 100", x.level)
	}
}

func TestQuotaThatChanges(t *testing.T) {
	b, _ := testBook(100, time.Second)
	s := newSession()
	b.ask(s, &weftpb.Ask{Id: id, Want: 50})
	got(s)
	follow(b, 200, time.Second, true)
	if x := b.buckets[place{id: id}]; x.level != 100 {
		t.Errorf("level %v, want half of 200", x.level)
	}
	follow(b, 200, time.Second, false)
	if g := got(s); !g.Unknown {
		t.Error("the proxy is not told that the quota is gone")
	}
	b.leave(s)
}

func TestRLS(t *testing.T) {
	b, now := testBook(2, time.Second)
	r := NewRLS(b)
	ask := func(key, value string) *rlsv3.RateLimitResponse {
		out, err := r.ShouldRateLimit(t.Context(), &rlsv3.RateLimitRequest{Domain: "slime", Descriptors: []*ratelimitv3.RateLimitDescriptor{
			{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: key, Value: value}}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if a := ask("generic_key", id); a.OverallCode != rlsv3.RateLimitResponse_OK || a.Statuses[0].LimitRemaining != 1 || a.Statuses[0].CurrentLimit.RequestsPerUnit != 2 {
		t.Errorf("%v", a)
	}
	ask("k", "v") // the same quota by its custom_key
	a := ask("generic_key", id)
	if a.OverallCode != rlsv3.RateLimitResponse_OVER_LIMIT || len(a.ResponseHeadersToAdd) != 2 || a.ResponseHeadersToAdd[0].Key != "retry-after" {
		t.Errorf("%v", a)
	}
	if a := ask("generic_key", "nobody/knows/it"); a.OverallCode != rlsv3.RateLimitResponse_OK {
		t.Errorf("%v", a)
	}
	*now = now.Add(time.Second)
	if a := ask("generic_key", id); a.OverallCode != rlsv3.RateLimitResponse_OK {
		t.Errorf("%v", a)
	}
	if _, err := r.ShouldRateLimit(t.Context(), &rlsv3.RateLimitRequest{}); err == nil {
		t.Error("a request without descriptors is answered")
	}
}

// TestNobodyWaits: what deals sleeps while nobody waits, and is woken by who begins to.
func TestNobodyWaits(t *testing.T) {
	b, now := testBook(10, time.Second)
	s := newSession()
	b.ask(s, &weftpb.Ask{Id: id, Want: 4})
	if len(b.waits) > 0 || b.deal() {
		t.Error("who has got all waits")
	}
	for range 2 { // asking again wakes nobody who is awake
		b.ask(s, &weftpb.Ask{Id: id, Want: 8})
	}
	if len(b.waits) != 1 || !b.deal() {
		t.Error("who wants more than there is does not wait")
	}
	<-b.waits
	if *now = now.Add(time.Second); b.deal() {
		t.Error("who has got all waits still")
	}
	b.ask(s, &weftpb.Ask{Id: id, Want: 100})
	b.leave(s)
	if <-b.waits; b.deal() {
		t.Error("who has left waits")
	}
}
