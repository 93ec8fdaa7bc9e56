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

func TestDefaultFormatIsIstios(t *testing.T) {
	w, end := run(t)
	l, err := NewText(w, DefaultFormat, format.Options{})
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
	l, err := NewJSON(w, []Field{{"agent", "%REQ(USER-AGENT)%"}, {"code", "%RESPONSE_CODE%"}, {"none", "%REQ(X-NONE)%"}}, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.Log(info())
	var got map[string]any
	line := end()
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	if got["agent"] != `curl "8"` || got["code"] != "200" || got["none"] != nil {
		t.Errorf("got %v", got)
	}
}

func TestOnlySkips(t *testing.T) {
	w, end := run(t)
	l, err := NewText(w, "%RESPONSE_CODE%\n", format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.Only(func(i *filter.Info) bool { return i.Status >= 500 })
	i := info()
	l.Log(i)
	i.Status = 503
	l.Log(i)
	if got := end(); got != "503\n" {
		t.Errorf("got %q", got)
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
