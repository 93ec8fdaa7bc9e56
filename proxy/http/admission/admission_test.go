package admission

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.admission_control.v3.AdmissionControl"`

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `}`: "EvaluationCriteria",
		typ + `,"successCriteria":{"httpCriteria":{"httpSuccessStatus":[{"start":1,"end":2}]}}}`:     "http_success_status[0]",
		typ + `,"successCriteria":{"grpcCriteria":{"grpcSuccessStatus":[17]}}}`:                      "grpc_success_status[0]",
		typ + `,"successCriteria":{},"srThreshold":{"defaultValue":{"value":0.5},"runtimeKey":"k"}}`: "sr_threshold",
		typ + `,"successCriteria":{},"samplingWindow":"0.5s"}`:                                       "sampling_window",
	})
}

// rig is a filter whose lots and time the test chooses.
type rig struct {
	*factory
	lot uint64
	at  time.Time
}

func newRig(t *testing.T, more string) *rig {
	t.Helper()
	f, err := Kind().Parse(&filter.ParseContext{StatPrefix: "p"}, filtertest.Any(t, typ+`,"successCriteria":{}`+more+`}`))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{factory: f.(*factory), at: time.Unix(1000, 0)}
	r.random, r.now = func() uint64 { return r.lot }, func() time.Time { return r.at }
	return r
}

// serve runs a request; false: it was rejected. Its stream ends without an answer for status 0.
func (r *rig) serve(status int, fields ...string) bool {
	s := filtertest.New()
	x := r.New(s)
	defer x.Done(s)
	if x.RequestHeaders(s, s.Req, true) == filter.Reply {
		return false
	}
	if status == 0 {
		return true
	}
	h := &filter.Headers{Status: status}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	x.ResponseHeaders(s, h, len(fields) == 2)
	return true
}

func TestRejectsByTheShareOfFailures(t *testing.T) {
	r := newRig(t, "")
	r.lot = 9999
	for range 10 {
		if !r.serve(503) {
			t.Fatal("rejected against the lot")
		}
	}
	// 10 failures: 10/11 would be 0.909, at most 0.8.
	r.lot = 7999
	if r.serve(200) {
		t.Error("not rejected")
	}
	r.lot = 8000
	if !r.serve(0) {
		t.Error("rejected beyond the maximum")
	}
	if f, s, n := r.failure.Load(), r.success.Load(), r.rejected.Load(); f != 11 || s != 0 || n != 1 {
		t.Errorf("%d failures, %d successes, %d rejected", f, s, n)
	}
	r.at = r.at.Add(31 * time.Second)
	r.lot = 0
	if !r.serve(200) {
		t.Error("the window does not move on")
	}
}

func TestSuccesses(t *testing.T) {
	r := newRig(t, `,"aggression":{"defaultValue":2,"runtimeKey":"k"}`)
	for range 20 {
		if !r.serve(404) || !r.serve(200, "grpc-status", "5") {
			t.Fatal("rejected though all is well")
		}
	}
	r.lot = 9999
	r.serve(200, "grpc-status", "14")
	if f, s := r.failure.Load(), r.success.Load(); f != 1 || s != 40 {
		t.Errorf("%d failures, %d successes", f, s)
	}
}

func TestFewRequestsAreNotRejected(t *testing.T) {
	r := newRig(t, `,"rpsThreshold":{"defaultValue":5,"runtimeKey":"k"}`)
	for i := range 20 {
		if !r.serve(503) {
			t.Fatalf("request %d rejected", i)
		}
		r.at = r.at.Add(time.Second)
	}
	for range 150 {
		r.lot = 9999
		r.serve(503)
	}
	r.lot = 0
	if r.serve(200) {
		t.Error("not rejected at many requests per second")
	}
}
