package format

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
)

func testInfo() *filter.Info {
	req := &filter.Headers{Method: "GET", Path: "/a?b=1", Authority: "reviews:9080"}
	req.Add("x-id", "42")
	resp := &filter.Headers{Status: 200}
	resp.Add("grpc-status", "14")
	return &filter.Info{
		Conn: &filter.ConnInfo{
			ID: 7, SNI: "a.example",
			Remote: netip.MustParseAddrPort("10.0.0.1:1234"), Local: netip.MustParseAddrPort("[fd00::1]:80"),
			PeerURI: "spiffe://cluster.local/ns/a/sa/b",
		},
		Start:    time.Date(2024, 5, 1, 10, 11, 12, 45600789, time.UTC),
		Duration: 1500 * time.Microsecond, UpstreamFirstByte: 500 * time.Microsecond,
		Protocol: "HTTP/1.1", Request: req, Response: resp, Status: 200,
		Flags:    filter.FlagNoRoute | filter.FlagUpstreamOverflow,
		Upstream: filter.Upstream{Cluster: "c", Host: netip.MustParseAddrPort("10.0.0.2:9080")},
		Received: 3, Attempts: 2,
		Metadata: map[string]any{"ns": map[string]any{"k": "v", "n": 1.5}},
	}
}

// TestGRPCStatus: what came, else what the HTTP status means; nothing for other requests.
func TestGRPCStatus(t *testing.T) {
	const text = "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%"
	f, err := Compile(text, Options{Missing: "-"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, said string
		grpc       bool
		status     int
		want       string
	}{
		{"said", "14", true, 200, "Unavailable UNAVAILABLE 14"},
		{"beyond the known", "99", true, 200, "99 99 99"},
		{"of a 503", "", true, 503, "Unavailable UNAVAILABLE 14"},
		{"of a 404", "", true, 404, "Unimplemented UNIMPLEMENTED 12"},
		{"of a 200", "", true, 200, "Unknown UNKNOWN 2"},
		{"no answer", "", true, 0, "- - -"},
		{"no gRPC", "14", false, 200, "- - -"},
	} {
		i := testInfo()
		i.GRPC, i.Status, i.Response = c.grpc, c.status, &filter.Headers{Status: c.status}
		if c.said != "" {
			i.Response.Add("grpc-status", c.said)
		}
		if got := string(f.Append(nil, i)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAppend(t *testing.T) {
	o := Options{Missing: "-", Hostname: "h", Env: func(s string) string { return strings.ToLower(s) }}
	for _, c := range []struct{ format, want string }{
		{"", ""},
		{"plain 100%%", "plain 100%"},
		{"%PROTOCOL%", "HTTP/1.1"},
		{"a%REQ(X-ID)%b", "a42b"},
		{"%REQ(X-ID):1%", "4"},
		{"%REQ(NO?X-ID)% %REQ(NO)% %REQ(:PATH)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "42 - /a?b=1 /a?b=1"},
		{"%REQ_WITHOUT_QUERY(:PATH)%", "/a"},
		{"%RESP(X)%|%TRAILER(X)%", "-|-"},
		{"%START_TIME%", "2024-05-01T10:11:12.045Z"},
		{"%START_TIME(%Y/%m/%dT%H:%M:%S%z %s %6f)%", "2024/05/01T10:11:12+0000 1714558272 045600"},
		{"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%", "10.0.0.1 1234"},
		{"%DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_LOCAL_ADDRESS%", "[fd00::1]:80 -"},
		{"%UPSTREAM_HOST% %UPSTREAM_CLUSTER_RAW% %UPSTREAM_TRANSPORT_FAILURE_REASON%", "10.0.0.2:9080 c -"},
		{"%RESPONSE_CODE% %RESPONSE_FLAGS% %DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "200 UO,NR 1 0 1"},
		{"%HOSTNAME% %ENVIRONMENT(POD)%", "h pod"},
		{"%DYNAMIC_METADATA(ns:k)% %DYNAMIC_METADATA(ns:n)% %DYNAMIC_METADATA(ns:x)%", "v 1.5 -"},
		{"%CONNECTION_ID% %REQUESTED_SERVER_NAME% %DOWNSTREAM_PEER_URI_SAN%", "7 a.example spiffe://cluster.local/ns/a/sa/b"},
	} {
		f, err := Compile(c.format, o)
		if err != nil {
			t.Errorf("Compile(%q): %v", c.format, err)
			continue
		}
		if diff := cmp.Diff(c.want, string(f.Append(nil, testInfo()))); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", c.format, diff)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for format, want := range map[string]string{
		"%NO_SUCH%":                "NO_SUCH",
		"50% off":                  "percent sign",
		"%REQ(X%":                  "closing",
		"%REQ%":                    "header name",
		"%REQ(A?B?C)%":             "alternative",
		"%PROTOCOL(x)%":            "no arguments",
		"%START_TIME(%Q)%":         "%Q",
		"%START_TIME(%3S)%":        "digit",
		"%GRPC_STATUS(X)%":         "CAMEL_STRING",
		"%ENVIRONMENT%":            "variable",
		"%REQ(X):999999999999999%": "closing",
	} {
		if _, err := Compile(format, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile(%q) = %v, want an error with %q", format, err, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"%REQ(X?Y):3%", "%START_TIME(%Y%3f)%", "%%", "%DYNAMIC_METADATA(a:b)%", "%A(%)%"} {
		f.Add(s)
	}
	info := testInfo()
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Compile(s, Options{Missing: "-"})
		if err != nil {
			return
		}
		out := string(c.Append([]byte("keep"), info))
		if !strings.HasPrefix(out, "keep") {
			t.Fatalf("%q overwrote its destination: %q", s, out)
		}
		if lit, ok := c.Literal(); ok && "keep"+lit != out {
			t.Fatalf("%q: literal %q, but it formats as %q", s, lit, out)
		}
	})
}
