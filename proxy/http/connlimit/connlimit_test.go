package connlimit

import (
	"testing"
	"testing/synctest"
	"time"

	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/filter"
)

// TestDelay: a connection too many is closed, after a while.
func TestDelay(t *testing.T) {
	a, err := anypb.New(&limitv3.ConnectionLimit{StatPrefix: "l", MaxConnections: wrapperspb.UInt64(1), Delay: durationpb.New(3 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := Kind().Parse(&filter.ParseContext{}, a)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		for i, want := range []struct {
			verdict filter.Verdict
			at      time.Duration
		}{{filter.Continue, 0}, {filter.Reply, 3 * time.Second}, {filter.Reply, 6 * time.Second}} {
			if v := f.New().Open(nil, &filter.ConnInfo{}); v != want.verdict || time.Since(begin) != want.at {
				t.Errorf("connection %d: verdict %v after %v, want %v after %v", i, v, time.Since(begin), want.verdict, want.at)
			}
		}
	})
}
