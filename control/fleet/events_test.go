package fleet

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/wire"
)

// bubble is a fleet whose sessions are driven by hand, in a bubble of time.
type bubble struct {
	*Fleet
	t         *testing.T
	snapshots watch.Cell[*model.Snapshot]
	events    <-chan Event
}

func inBubble(t *testing.T, f func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t}
		b.Fleet = New(&b.snapshots, wire.ModeEager, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Run(ctx) }()
		events, stop := b.Subscribe()
		defer stop()
		b.events = events
		f(t, b)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func bearer(ctx context.Context, token string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
}

func (b *bubble) open(namespace, name string) serve.Session {
	b.t.Helper()
	node := &corev3.Node{Id: nodeID(namespace, name), Metadata: wire.NodeMetadata{Engine: "go"}.Struct()}
	s, err := b.Open(bearer(b.t.Context(), "token of "+name), node, false)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// store publishes and lets everybody get to it.
func (b *bubble) store(s *model.Snapshot) {
	b.snapshots.Store(s)
	synctest.Wait()
}

// want expects exactly these events to have come.
func (b *bubble) want(want ...Event) {
	b.t.Helper()
	synctest.Wait()
	var got []Event
	for {
		select {
		case e := <-b.events:
			e.Time = time.Time{}
			got = append(got, e)
			continue
		default:
		}
		break
	}
	if d := cmp.Diff(want, got); d != "" {
		b.t.Errorf("events, -want +got:\n%s", d)
	}
}

func settled(s serve.Session, version uint64) {
	s.Report(serve.Report{Kind: serve.Settled, Version: version})
}

func TestEventsOfAPush(t *testing.T) {
	web := func(version uint64, port uint16) *model.Snapshot {
		return snapshot(version, "change", shop, bank, service("shop", "web", port), service("bank", "till", port))
	}
	refusal := serve.Report{Kind: serve.Rejected, Type: wire.TypeListener, Error: "no"}
	rejection := []Rejection{{Proxy: "web.shop", Type: wire.TypeListener, Error: "no"}}
	why := []string{"change"}
	for _, tc := range []struct {
		name string
		do   func(b *bubble, web, till serve.Session)
		want []Event
	}{
		{"all answer", func(_ *bubble, web, till serve.Session) {
			time.Sleep(20 * time.Millisecond)
			settled(web, 2)
			settled(till, 2)
		}, []Event{{Why: why, Proxies: 2, Millis: 20}}},
		{"nobody has to answer twice", func(_ *bubble, web, till serve.Session) {
			settled(web, 2)
			settled(web, 2)
			time.Sleep(4 * time.Second)
			settled(till, 3) // a later version is this one too
			settled(till, 3)
		}, []Event{{Why: why, Proxies: 2, Millis: 4000}}},
		{"an old answer does not count", func(_ *bubble, web, till serve.Session) {
			settled(web, 2)
			settled(till, 1)
			time.Sleep(pushBound)
		}, []Event{{Why: why, Proxies: 2, Late: []string{"till.bank"}, Millis: 5000}}},
		{"late ones are named, and no more told of when they answer", func(_ *bubble, web, till serve.Session) {
			time.Sleep(pushBound + time.Millisecond)
			settled(web, 2)
			settled(till, 2)
		}, []Event{{Why: why, Proxies: 2, Late: []string{"till.bank", "web.shop"}, Millis: 5000}}},
		{"one that leaves is not waited for", func(_ *bubble, web, till serve.Session) {
			settled(web, 2)
			till.Close()
		}, []Event{{Why: why, Proxies: 2}}},
		{"a rejection is named", func(_ *bubble, web, till serve.Session) {
			web.Report(refusal)
			settled(web, 2)
			settled(till, 2)
		}, []Event{{Why: why, Proxies: 2, Rejected: rejection}}},
		{"one that belongs to no push is an event", func(_ *bubble, web, till serve.Session) {
			settled(web, 2)
			web.Report(refusal)
			settled(till, 2)
		}, []Event{{Rejected: rejection}, {Why: why, Proxies: 2}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(_ *testing.T, b *bubble) {
				b.store(web(1, 80))
				b.want(Event{Why: why})
				first, second := b.open("shop", "web"), b.open("bank", "till")
				b.store(web(2, 81))
				b.want() // nobody has answered
				tc.do(b, first, second)
				b.want(tc.want...)
			})
		})
	}
}

// An answer may come before the push has looked at the next proxy.
func TestAnAnswerAtOnceCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.store(snapshot(1, "start", shop, service("shop", "web", 80)))
		b.want(Event{Why: []string{"start"}})
		web := b.open("shop", "web")
		_, changed, err := web.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			<-changed
			settled(web, 2)
		}()
		b.store(snapshot(2, "change", shop, service("shop", "web", 81)))
		b.want(Event{Why: []string{"change"}, Proxies: 1})
	})
}

// TestARejectionStays until the resource that it is about is taken or gone: that
// others of its type are taken does not mend it.
func TestARejectionStays(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		b.store(snapshot(1, "start", shop))
		s := b.open("shop", "web")
		report := func(kind serve.ReportKind, err string, names ...string) {
			s.Report(serve.Report{Kind: kind, Type: wire.TypeCluster, Names: names, Error: err})
		}
		want := func(err string) {
			t.Helper()
			if got := b.Status()[0].Types[wire.TypeCluster].Error; got != err {
				t.Errorf("the error is %q, want %q", got, err)
			}
		}
		report(serve.Rejected, "_80: field x is not for me", "_80", "_8", "_800")
		want("_80: field x is not for me")
		report(serve.Acked, "", "_8", "_800", "other")
		want("_80: field x is not for me")
		report(serve.Rejected, "not even z", "_90")
		want("_80: field x is not for me; not even z")
		report(serve.Rejected, "nor other.", "other", "_90")
		want("_80: field x is not for me; nor other.")
		report(serve.Acked, "", "_80")
		want("nor other.")
		report(serve.Acked, "", "other")
		want("")
	})
}

func TestEventsTellWhatIsWrongNow(t *testing.T) {
	finding := func(message string, line int) model.Finding {
		return model.Finding{Severity: model.Error, Message: message, Origin: model.Origin{File: "a.yaml", Line: line}}
	}
	inBubble(t, func(_ *testing.T, b *bubble) {
		b.store(snapshot(1, "one", finding("x", 3)))
		b.want(Event{Why: []string{"one"}, Findings: []model.Finding{finding("x", 3)}})
		b.store(snapshot(2, "moved", finding("x", 4), finding("y", 9)))
		b.want(Event{Why: []string{"moved"}, Findings: []model.Finding{finding("y", 9)}})
		b.store(snapshot(3, "mended", finding("y", 9)))
		b.want(Event{Why: []string{"mended"}, Resolved: []model.Finding{finding("x", 4)}})
	})
}

func TestSlowSubscribersLoseEventsOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		for v := range uint64(200) {
			b.store(snapshot(v+1, "change"))
		}
		if n := len(b.events); n != cap(b.events) {
			t.Errorf("%d events are kept, want %d", n, cap(b.events))
		}
		for range cap(b.events) {
			<-b.events
		}
		b.store(snapshot(500, "later"))
		b.want(Event{Why: []string{"later"}})
	})
}

func TestHowLongATokenMayBeUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		start := time.Now()
		if _, err := b.Authenticate(bearer(t.Context(), "x")); status.Code(err) != codes.Unavailable || time.Since(start) != admission {
			t.Errorf("without any snapshot: %v after %v", err, time.Since(start))
		}
		b.store(snapshot(1, "start", shop))
		start = time.Now()
		_, err := b.Authenticate(bearer(t.Context(), "x"))
		if status.Code(err) != codes.Unauthenticated || time.Since(start) != admission || !strings.Contains(err.Error(), "restart the proxy") {
			t.Errorf("unknown token: %v after %v", err, time.Since(start))
		}
		// A workload without a token is nobody's.
		open := workload("shop", "open", 7)
		open.TokenHash = ""
		time.AfterFunc(time.Second, func() { b.snapshots.Store(snapshot(2, "more", shop, bank, open)) })
		start = time.Now()
		w, err := b.Authenticate(bearer(t.Context(), "token of till"))
		if err != nil || w != bank || time.Since(start) != time.Second {
			t.Errorf("a token that becomes known: %v %v after %v", w, err, time.Since(start))
		}
		for _, header := range []string{"Bearer ", "Basic eA==", "token of web"} {
			ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", header))
			if _, err := b.Authenticate(ctx); status.Code(err) != codes.Unauthenticated {
				t.Errorf("authorization %q: %v", header, err)
			}
		}
		gone, cancel := context.WithCancel(bearer(t.Context(), "x"))
		cancel()
		if _, err := b.Authenticate(gone); status.Code(err) != codes.Canceled {
			t.Errorf("a caller that has gone: %v", err)
		}
	})
}
