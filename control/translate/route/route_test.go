package route

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
)

func TestShortNames(t *testing.T) {
	for _, tc := range []struct {
		host, domain string
		want         []string
	}{
		{"reviews.default.svc.cluster.local", "default.svc.cluster.local", []string{"reviews", "reviews.default.svc", "reviews.default"}},
		{"reviews.other.svc.cluster.local", "default.svc.cluster.local", []string{"reviews.other", "reviews.other.svc"}},
		{"api.example.com", "default.svc.cluster.local", nil},
		{"*.example.com", "default.svc.cluster.local", nil},
		{"a.b.other.svc.cluster.local", "default.svc.cluster.local", []string{"a.b.other", "a.b.other.svc"}},
		{"svc.cluster.local", "default.svc.cluster.local", nil},
		{"reviews.default.svc.cluster.local", "", nil},
	} {
		if diff := cmp.Diff(tc.want, shortNames(tc.host, tc.domain)); diff != "" {
			t.Errorf("%s from %s (-want +got):\n%s", tc.host, tc.domain, diff)
		}
	}
}

func TestIntersect(t *testing.T) {
	set := func(namespace string, hosts ...string) *model.RouteSet {
		return &model.RouteSet{Meta: model.Meta{Key: model.Key{Namespace: namespace}}, Hosts: hosts}
	}
	for _, tc := range []struct {
		name   string
		server []string
		set    *model.RouteSet
		want   []string
	}{
		{"same", []string{"a.com"}, set("x", "a.com"), []string{"a.com"}},
		{"server wider", []string{"*.com"}, set("x", "a.com"), []string{"a.com"}},
		{"route wider", []string{"a.com"}, set("x", "*.com"), []string{"a.com"}},
		{"all", []string{"*"}, set("x", "*"), []string{"*"}},
		{"apart", []string{"a.com"}, set("x", "b.com"), nil},
		{"a wildcard does not cover its own domain", []string{"*.com"}, set("x", "com"), nil},
		{"namespace", []string{"x/*"}, set("x", "a.com"), []string{"a.com"}},
		{"other namespace", []string{"y/*"}, set("x", "a.com"), nil},
		{"once", []string{"*", "*.com"}, set("x", "a.com"), []string{"a.com"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Intersect(tc.server, tc.set)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRetryPolicy(t *testing.T) {
	no, yes := false, true
	for _, tc := range []struct {
		name       string
		r, mesh    *model.Retry
		none       bool
		on         string
		codes      []uint32
		attempts   uint32
		predicates int
		priority   bool
	}{
		{"default", nil, nil, false, "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", nil, 2, 1, false},
		{"mesh", nil, &model.Retry{Attempts: 5, On: "5xx"}, false, "5xx", nil, 5, 1, false},
		{"off", &model.Retry{}, nil, true, "", nil, 0, 0, false},
		{"codes", &model.Retry{Attempts: 1, On: "429, gateway-error ,503"}, nil, false, "gateway-error,retriable-status-codes", []uint32{429, 503}, 1, 1, false},
		{"no second word for codes", &model.Retry{Attempts: 1, On: "retriable-status-codes,409"}, nil, false, "retriable-status-codes", []uint32{409}, 1, 1, false},
		{"any host, other localities", &model.Retry{Attempts: 1, On: "5xx", IgnorePreviousHosts: &no, RemoteLocalities: &yes}, nil, false, "5xx", nil, 1, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := retryPolicy(tc.r, tc.mesh, false)
			if (got == nil) != tc.none {
				t.Fatalf("got %v", got)
			}
			if got.GetRetryOn() != tc.on || got.GetNumRetries().GetValue() != tc.attempts ||
				len(got.GetRetryHostPredicate()) != tc.predicates || (got.GetRetryPriority() != nil) != tc.priority {
				t.Errorf("got %v", got)
			}
			if diff := cmp.Diff(tc.codes, got.GetRetriableStatusCodes()); diff != "" {
				t.Errorf("codes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRetryOfHashed: what hashing sends to one host, a retry does not send to
// another unless the route asks for it.
func TestRetryOfHashed(t *testing.T) {
	yes, no := true, false
	for _, tc := range []struct {
		name   string
		r      *model.Retry
		hashed bool
		want   int
	}{
		{"default", nil, false, 1},
		{"hashed", nil, true, 0},
		{"hashed, attempts given", &model.Retry{Attempts: 3}, true, 0},
		{"hashed, asked for", &model.Retry{Attempts: 3, IgnorePreviousHosts: &yes}, true, 1},
		{"not asked for", &model.Retry{Attempts: 3, IgnorePreviousHosts: &no}, false, 0},
	} {
		if got := len(retryPolicy(tc.r, nil, tc.hashed).GetRetryHostPredicate()); got != tc.want {
			t.Errorf("%s: %d predicates, want %d", tc.name, got, tc.want)
		}
	}
}

func TestFault(t *testing.T) {
	for _, tc := range []struct {
		name     string
		f        *model.Fault
		none     bool
		grpc     uint32
		findings int
	}{
		{"nothing", nil, true, 0, 0},
		{"no share", &model.Fault{Delay: time.Second}, true, 0, 0},
		{"delay", &model.Fault{Delay: time.Second, DelayPercent: 1}, false, 0, 0},
		{"by name", &model.Fault{AbortGRPC: "unavailable", AbortPercent: 1}, false, 14, 0},
		{"by number", &model.Fault{AbortGRPC: "7", AbortPercent: 1}, false, 7, 0},
		{"no such status", &model.Fault{AbortGRPC: "SLEEPY", AbortPercent: 1}, true, 0, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := 0
			s := &site{Builder: &Builder{report: func(model.Finding) { n++ }}}
			got := s.fault(tc.f)
			if (got == nil) != tc.none || got.GetAbort().GetGrpcStatus() != tc.grpc || n != tc.findings {
				t.Errorf("got %v, %d findings", got, n)
			}
		})
	}
}
