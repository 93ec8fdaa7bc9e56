package accesslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// run starts a writer; the function it returns ends it and gives what was written.
func run(t *testing.T) (*Writer, func() string) {
	out := &buffer{}
	w := NewWriter(out)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Run(ctx)
	}()
	return w, func() string {
		cancel()
		<-done
		return out.b.String()
	}
}

func info() *filter.Info {
	h := &filter.Headers{Method: "GET", Path: "/x?a=1", Authority: "reviews:9080"}
	h.Add("user-agent", `curl "8"`)
	h.Add("x-request-id", "id-1")
	return &filter.Info{
		Conn:     &filter.ConnInfo{Local: netip.MustParseAddrPort("10.96.0.1:9080"), Remote: netip.MustParseAddrPort("10.244.0.2:5555")},
		Start:    time.Date(2026, 11, 22, 10, 11, 12, 345e6, time.UTC),
		Protocol: "HTTP/1.1", Request: h, Response: &filter.Headers{Status: 200}, Status: 200, Details: "via_upstream",
		Sent: 12, Duration: 7 * time.Millisecond, RouteName: "default",
		Upstream: filter.Upstream{Cluster: "outbound|9080||reviews.default.svc.cluster.local", Host: netip.MustParseAddrPort("10.244.0.3:9080")},
	}
}

// istioFormat is what Istio's users' parsers know.
const istioFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% ` +
	`%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ` +
	`"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ` +
	`%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

func TestDefaultFormatIsIstios(t *testing.T) {
	w, end := run(t)
	l, err := NewText(w, istioFormat, format.Options{Missing: "-"})
	if err != nil {
		t.Fatal(err)
	}
	l.Log(info())
	want := `[2026-11-22T10:11:12.345Z] "GET /x?a=1 HTTP/1.1" 200 - via_upstream - "-" 0 12 7 - "-" "curl "8"" "id-1" "reviews:9080" ` +
		`"10.244.0.3:9080" outbound|9080||reviews.default.svc.cluster.local - 10.96.0.1:9080 10.244.0.2:5555 - default` + "\n"
	if got := end(); got != want {
		t.Errorf("got\n%s want\n%s", got, want)
	}
}

func TestJSONQuotes(t *testing.T) {
	w, end := run(t)
	l, err := NewJSON(w, map[string]any{
		"agent": "%REQ(USER-AGENT)%", "code": "%RESPONSE_CODE%", "none": "%REQ(X-NONE)%", "mixed": "%RESPONSE_CODE% %REQ(X-NONE)%",
		"deep": map[string]any{"list": []any{"%PROTOCOL%", 1.0, true}},
	}, format.Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	l.Log(info())
	var got map[string]any
	line := end()
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	want := map[string]any{
		"agent": `curl "8"`, "code": 200.0, "none": nil, "mixed": "200 -",
		"deep": map[string]any{"list": []any{"HTTP/1.1", 1.0, true}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestEmptyMembersAreLeftOut(t *testing.T) {
	w, end := run(t)
	l, err := NewJSON(w, map[string]any{"a": "%REQ(X-NONE)%", "b": "%BYTES_SENT%", "c": "%REQ(X-NONE)%", "d": map[string]any{"e": "%REQ(X-NONE)%"}}, format.Options{}, true)
	if err != nil {
		t.Fatal(err)
	}
	l.Log(info())
	if got, want := end(), `{"b":12}`+"\n"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
}

func TestUnknownCommandIsRefused(t *testing.T) {
	if _, err := NewText(NewWriter(&buffer{}), "%NO_SUCH%", format.Options{}); err == nil || !strings.Contains(err.Error(), "NO_SUCH") {
		t.Errorf("error is %v", err)
	}
}

// fullDisk refuses everything.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAFullDiskStopsNothing(t *testing.T) {
	w := NewWriter(fullDisk{})
	w.Write([]byte("x\n"))
	w.flush()
	if w.Dropped() != 1 {
		t.Errorf("dropped %d, want 1", w.Dropped())
	}
	// Without a Run, pending is bounded.
	for range 2 * pendingLimit / 1024 {
		w.Write(make([]byte, 1024))
	}
	if len(w.pending) > pendingLimit || w.Dropped() < 2 {
		t.Errorf("pending %d, dropped %d", len(w.pending), w.Dropped())
	}
}
