package localrate

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

func message(t *testing.T, json string, m proto.Message) *anypb.Any {
	t.Helper()
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const always = `"filterEnabled":{"defaultValue":{"numerator":100}},"filterEnforced":{"defaultValue":{"numerator":100}}`

func TestBucketFillsWithTime(t *testing.T) {
	b := newBucket(Spec{Max: 2, PerFill: 4, Interval: time.Second})
	for i, step := range []struct {
		at, take  float64
		ok        bool
		remaining uint64
	}{
		{100, 2, true, 0},
		{100, 1, false, 0},
		{100.2, 1, false, 0},
		{100.25, 1, true, 0},
		{100.5, 1, true, 0},
		{200, 1, true, 1}, // no fuller than full
		{200, 2, false, 1},
		{200, 1, true, 0},
	} {
		if ok := b.take(step.at, step.take); ok != step.ok || b.remaining(step.at) != step.remaining {
			t.Fatalf("step %d: took %v, %d remain, want %v, %d", i, ok, b.remaining(step.at), step.ok, step.remaining)
		}
	}
	b.give(200, 5)
	if n := b.remaining(200); n != 2 {
		t.Errorf("%d after giving back, want no more than fit in", n)
	}
}

func TestBucketHoldsWhatItHolds(t *testing.T) {
	b := newBucket(Spec{Max: 1000, PerFill: 1, Interval: time.Hour})
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				if b.take(5, 1) {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := taken.Load(); n != 1000 {
		t.Errorf("%d were taken at once, want 1000", n)
	}
}

func TestRefused(t *testing.T) {
	kind := HTTPKind()
	for json, field := range map[string]string{
		`{"statPrefix":"p","localClusterRateLimit":{}}`:                           "local_cluster_rate_limit",
		`{"statPrefix":"p","tokenBucket":{"maxTokens":1,"fillInterval":"0.01s"}}`: "token_bucket.fill_interval",
		`{"statPrefix":"p","rateLimits":[{"actions":[{"extension":{"name":"x","typedConfig":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}}]}]}`: "rate_limits[0].actions[0].extension",
		`{"statPrefix":"p","responseHeadersToAdd":[{"header":{"key":"a","value":"%NO_SUCH%"}}]}`:                                                                         "response_headers_to_add",
		`{"statPrefix":"p","descriptors":[{"entries":[{"key":"a","value":"b"}],"tokenBucket":{"maxTokens":1,"fillInterval":"1s"}},` +
			`{"entries":[{"key":"a","value":"b"}],"tokenBucket":{"maxTokens":2,"fillInterval":"1s"}}]}`: "descriptors[1]",
	} {
		_, err := kind.Parse(&filter.ParseContext{}, message(t, json, &localv3.LocalRateLimit{}))
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want it to name %s", json, err, field)
		}
	}
	_, err := kind.ParseRoute(&filter.ParseContext{}, message(t, `{"statPrefix":"p"}`, &localv3.LocalRateLimit{}))
	if err == nil || !strings.Contains(err.Error(), "token_bucket") {
		t.Errorf("a route without a bucket: %v", err)
	}
}

func TestDynamicBucketsAreBounded(t *testing.T) {
	f, err := HTTPKind().Parse(&filter.ParseContext{}, message(t, `{"statPrefix":"p","maxDynamicDescriptors":2,`+always+`,
		"rateLimits":[{"actions":[{"requestHeaders":{"headerName":"u","descriptorKey":"u"}}]}],
		"descriptors":[{"entries":[{"key":"u"}],"tokenBucket":{"maxTokens":1,"fillInterval":"3600s"}}]}`, &localv3.LocalRateLimit{}))
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		user string
		ok   bool
	}{{"a", true}, {"a", false}, {"b", true}, {"a", false}, {"c", true}, {"a", false}, {"b", true}} { // b was forgotten for c
		s := filtertest.New("u", step.user)
		s.StreamInfo.Start = epoch.Add(time.Minute)
		x := f.New(s)
		if ok := x.RequestHeaders(s, s.Req, true) == filter.Continue; ok != step.ok {
			t.Errorf("step %d: %s passes: %v", i, step.user, ok)
		}
		x.Done(s)
	}
}

func TestConnections(t *testing.T) {
	kind := NetworkKind()
	stats := &filter.Stats{}
	parse := func(json string) filter.NetworkFactory {
		f, err := kind.Parse(&filter.ParseContext{Stats: stats}, message(t, json, &networkv3.LocalRateLimit{}))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	const one = `{"statPrefix":"n","tokenBucket":{"maxTokens":1,"fillInterval":"3600s"}`
	opens := func(f filter.NetworkFactory) bool {
		return f.New().Open(nil, &filter.ConnInfo{Start: epoch}) == filter.Continue
	}
	a, b := parse(one+`,"shareKey":"k"}`), parse(one+`,"shareKey":"k"}`)
	if !opens(a) || opens(b) {
		t.Error("filters with the same key and bucket do not share it")
	}
	if own := parse(one + "}"); !opens(own) || opens(own) {
		t.Error("a filter without a key has no bucket of its own")
	}
	if off := parse(one + `,"runtimeEnabled":{"defaultValue":false,"runtimeKey":"r"}}`); !opens(off) || !opens(off) {
		t.Error("a filter that is off limits")
	}
	if n := stats.Counter("local_rate_limit", "n", "rate_limited").Load(); n != 2 {
		t.Errorf("%d counted", n)
	}
}
