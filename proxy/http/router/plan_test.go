package router

import (
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestParseGRPCTimeout(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration
		ok   bool
	}{
		{"10S", 10 * time.Second, true},
		{"1H", time.Hour, true},
		{"2M", 2 * time.Minute, true},
		{"250m", 250 * time.Millisecond, true},
		{"7u", 7 * time.Microsecond, true},
		{"99999999n", 99999999, true},
		{"123456789S", 0, false}, // nine digits
		{"S", 0, false},
		{"", 0, false},
		{"-1S", 0, false},
		{"10X", 0, false},
	} {
		if got, ok := parseGRPCTimeout(tt.in); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: %v %v, want %v %v", tt.in, got, ok, tt.want, tt.ok)
		}
	}
}

func TestHostsOfAuthorities(t *testing.T) {
	for _, tt := range []struct{ in, host, shadow string }{
		{"a.example", "a.example", "a.example-shadow"},
		{"a.example:80", "a.example", "a.example-shadow:80"},
		{"[::1]:80", "::1", "[::1]-shadow:80"},
		{"[::1]", "::1", "[::1]-shadow"},
	} {
		if got := hostOnly(tt.in); got != tt.host {
			t.Errorf("host of %q: %q, want %q", tt.in, got, tt.host)
		}
		if got := shadowed(tt.in); got != tt.shadow {
			t.Errorf("shadow of %q: %q, want %q", tt.in, got, tt.shadow)
		}
	}
}

func TestReplayable(t *testing.T) {
	for _, m := range strings.Fields("GET HEAD OPTIONS TRACE PUT DELETE") {
		if !replayable(m) {
			t.Errorf("%s is idempotent", m)
		}
	}
	for _, m := range strings.Fields("POST PATCH CONNECT get") {
		if replayable(m) {
			t.Errorf("%s is not idempotent", m)
		}
	}
}

func TestGRPCTimeoutHeader(t *testing.T) {
	for _, tt := range []struct {
		in, out string
	}{
		{"10S", "10000m"},
		{"1u", "1m"}, // rounded up
		{"1500001n", "2m"},
		{"99999999m", "99999999m"},
		{"99999999S", "99999999S"},
		{"99999999M", "99999999M"},
		{"99999999H", "2562047H"}, // more than a Duration holds
	} {
		h := &filter.Headers{}
		h.Add("grpc-timeout", tt.in)
		d, ok := GRPCTimeout(h)
		if !ok {
			t.Errorf("%q is not read", tt.in)
		}
		SetGRPCTimeout(h, d)
		if got := h.Get("grpc-timeout"); got != tt.out {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.out)
		}
	}
}

// FuzzGRPCTimeout: whatever is written, no panic, and nothing negative.
func FuzzGRPCTimeout(f *testing.F) {
	f.Add("10S")
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := parseGRPCTimeout(s); ok && d < 0 {
			t.Errorf("%q: %v", s, d)
		}
	})
}
