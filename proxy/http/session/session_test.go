package session

import (
	"net/netip"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession"`

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `,"sessionState":{"name":"x","typedConfig":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}}`: "session_state.typed_config",
	})
}

// What is set is read, and nothing else is more than a text.
func FuzzCookie(f *testing.F) {
	f.Add("CgxhLmI6MQ==")
	f.Add("MTI3LjAuMC4xOjgw")
	f.Fuzz(func(_ *testing.T, v string) { fromCookie(v) })
}

func TestCookieRoundTrip(t *testing.T) {
	c := &config{cookie: "n", ttl: time.Minute}
	host := netip.MustParseAddrPort("[::1]:80")
	h := &filter.Headers{}
	h.Add("cookie", c.setCookie(host))
	if got := fromCookie(cookieOf(h, "n")); got != host.String() {
		t.Errorf("got %q", got)
	}
}

func TestPaths(t *testing.T) {
	for _, tc := range []struct {
		path, of string
		want     bool
	}{{"/a", "", true}, {"/a", "/", true}, {"/a", "/a", true}, {"/a?x", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/b", "/a", false}, {"/a/b", "/a/", true}} {
		if got := under(tc.path, tc.of); got != tc.want {
			t.Errorf("%s under %s: %v", tc.path, tc.of, got)
		}
	}
}
