package fault

import (
	"strings"
	"testing"
	"time"

	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

func message(t testing.TB, json string) *anypb.Any {
	t.Helper()
	m := &faultv3.HTTPFault{}
	if err := protojson.Unmarshal([]byte(json), m); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start parses a route's configuration, draws the given lot, and begins a stream.
func start(t *testing.T, json string, lot uint64, fields ...string) (*filtertest.Stream, filter.HTTPFilter, filter.Verdict) {
	t.Helper()
	kind := Kind()
	factory, err := kind.Parse(&filter.ParseContext{FilterName: "f"}, message(t, "{}"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := kind.ParseRoute(&filter.ParseContext{}, message(t, json))
	if err != nil {
		t.Fatal(err)
	}
	cfg.(*Config).random = func() uint64 { return lot }
	s := filtertest.New(fields...)
	s.Routes = map[string]any{"f": cfg}
	f := factory.New(s)
	return s, f, f.RequestHeaders(s, s.Req, true)
}

const (
	delay5 = `"delay":{"fixedDelay":"5s","percentage":{"numerator":10}}`
	abort  = `"abort":{"httpStatus":503,"percentage":{"numerator":2000,"denominator":"TEN_THOUSAND"}}`
)

func TestNothingConfigured(t *testing.T) {
	s, _, v := start(t, `{}`, 0)
	if v != filter.Continue || len(s.Replies) != 0 {
		t.Errorf("verdict %v, %d replies", v, len(s.Replies))
	}
}

func TestDelay(t *testing.T) {
	s, _, v := start(t, "{"+delay5+"}", 9)
	if v != filter.Wait || s.StreamInfo.Flags != filter.FlagDelayInjected {
		t.Fatalf("verdict %v, flags %v", v, s.StreamInfo.Flags)
	}
	s.Advance(4 * time.Second)
	if len(s.Resumed) != 0 {
		t.Fatal("resumed early")
	}
	s.Advance(time.Second)
	if len(s.Resumed) != 1 || len(s.Replies) != 0 {
		t.Errorf("resumed %d times, %d replies", len(s.Resumed), len(s.Replies))
	}
	if _, _, v := start(t, "{"+delay5+"}", 10); v != filter.Continue {
		t.Errorf("a request outside of the share: %v", v)
	}
}

func TestAbort(t *testing.T) {
	s, _, v := start(t, "{"+abort+"}", 1999)
	if v != filter.Reply || len(s.Replies) != 1 {
		t.Fatalf("verdict %v", v)
	}
	r := s.Replies[0]
	if r.Status != 503 || r.Body != "fault filter abort" || r.Details != "fault_filter_abort" || r.Flags != filter.FlagFaultInjected || r.GRPCStatus != -1 {
		t.Errorf("reply %+v", r)
	}
	if _, _, v := start(t, "{"+abort+"}", 2000); v != filter.Continue {
		t.Errorf("a request outside of the share: %v", v)
	}
}

func TestDelayThenAbort(t *testing.T) {
	s, f, _ := start(t, "{"+delay5+","+abort+"}", 0)
	s.Advance(5 * time.Second)
	if len(s.Replies) != 1 || len(s.Resumed) != 0 {
		t.Errorf("%d replies, resumed %d times", len(s.Replies), len(s.Resumed))
	}
	f.Done(s)
}

func TestGRPCAbort(t *testing.T) {
	s, _, _ := start(t, `{"abort":{"grpcStatus":14,"percentage":{"numerator":100},"responseBody":"no"}}`, 0)
	if r := s.Replies[0]; r.GRPCStatus != 14 || r.Status != 503 || r.Body != "no" {
		t.Errorf("reply %+v", r)
	}
}

func TestHeaders(t *testing.T) {
	const cfg = `{"headers":[{"name":"user","exactMatch":"jason"}],` + abort + `}`
	if _, _, v := start(t, cfg, 0, "user", "jason"); v != filter.Reply {
		t.Errorf("with the header: %v", v)
	}
	if _, _, v := start(t, cfg, 0); v != filter.Continue {
		t.Errorf("without the header: %v", v)
	}
}

func TestDoneStopsTheDelay(t *testing.T) {
	s, f, _ := start(t, "{"+delay5+"}", 0)
	f.Done(s)
	if s.Timers() != 0 {
		t.Error("the timer runs on")
	}
}

func TestMaxActiveFaults(t *testing.T) {
	kind := Kind()
	factory, err := kind.Parse(&filter.ParseContext{}, message(t, `{"maxActiveFaults":1,`+delay5+`}`))
	if err != nil {
		t.Fatal(err)
	}
	factory.(interface{ draw(uint64) }).draw(0)
	s := filtertest.New()
	first, second := factory.New(s), factory.New(s)
	if v := first.RequestHeaders(s, s.Req, true); v != filter.Wait {
		t.Errorf("first: %v", v)
	}
	if v := second.RequestHeaders(s, s.Req, true); v != filter.Continue {
		t.Errorf("second: %v", v)
	}
	first.Done(s)
	if v := factory.New(s).RequestHeaders(s, s.Req, true); v != filter.Wait {
		t.Errorf("after the first has ended: %v", v)
	}
}

func (f *factory) draw(lot uint64) { f.cfg.random = func() uint64 { return lot } }

// TestRuntime: values of the runtime replace those of the configuration.
func TestRuntime(t *testing.T) {
	layer, err := runtime.NewLayer("l", map[string]any{
		"fault.http.delay.fixed_delay_percent": 100.0, "fault.http.delay.fixed_duration_ms": 2000.0,
		"own.share": 100.0, "fault.http.abort.http_status": 429.0, "fault.http.abort.grpc_status": 8.0,
		"none": 0.0,
	})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(json string) (*filtertest.Stream, filter.Verdict) {
		f, err := Kind().Parse(&filter.ParseContext{Runtime: runtime.New(layer)}, message(t, json))
		if err != nil {
			t.Fatal(err)
		}
		f.(*factory).draw(50)
		s := filtertest.New()
		return s, f.New(s).RequestHeaders(s, s.Req, true)
	}
	s, v := begin("{" + delay5 + "}")
	if v != filter.Wait {
		t.Fatalf("a delay for all: %v", v)
	}
	if s.Advance(2 * time.Second); len(s.Resumed) != 1 {
		t.Errorf("resumed %d times after the runtime's delay", len(s.Resumed))
	}
	s, v = begin(`{"abortPercentRuntime":"own.share",` + abort + `}`)
	if v != filter.Reply || s.Replies[0].Status != 429 {
		t.Errorf("an abort for all: %v, %+v", v, s.Replies)
	}
	s, _ = begin(`{"abortPercentRuntime":"own.share","abort":{"grpcStatus":14,"percentage":{"numerator":1}}}`)
	if len(s.Replies) != 1 || s.Replies[0].GRPCStatus != 8 || s.Replies[0].Status != 429 {
		t.Errorf("an abort of gRPC: %+v", s.Replies)
	}
	if _, v = begin(`{"maxActiveFaultsRuntime":"none",` + delay5 + `}`); v != filter.Continue {
		t.Errorf("with none at a time: %v", v)
	}
}

func TestRefused(t *testing.T) {
	for json, field := range map[string]string{
		`{"upstreamCluster":"x"}`:                                                 "upstream_cluster",
		`{"downstreamNodes":["x"]}`:                                               "downstream_nodes",
		`{"maxActiveFaults":0}`:                                                   "max_active_faults",
		`{"delay":{"headerDelay":{}}}`:                                            "delay.header_delay",
		`{"abort":{"headerAbort":{}}}`:                                            "abort.header_abort",
		`{"abort":{"httpStatus":99,"percentage":{"numerator":1}}}`:                "HttpStatus",
		`{"responseRateLimit":{"fixedLimit":{"limitKbps":"1"}}}`:                  "response_rate_limit",
		`{"headers":[{"name":"x","safeRegexMatch":{"regex":"("}}],` + abort + `}`: "headers",
	} {
		if _, err := Kind().ParseRoute(&filter.ParseContext{}, message(t, json)); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v, want it to name %s", json, err, field)
		}
	}
}
