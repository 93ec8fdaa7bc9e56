package forward

import (
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestStated(t *testing.T) {
	for _, c := range []struct{ host, port, authority, byDefault, want string }{
		{"", "", "a:1", "", ""},
		{"b", "", "a", "", "b"},
		{"b", "", "a:1", "", "b:1"},
		{"", "2", "a:1", "", "a:2"},
		{"", "2", "a", "", "a:2"},
		{"b", "2", "a:1", "", "b:2"},
		{"b", "", "sni", "443", "b:443"},
		{"::1", "", "a", "", "[::1]"},
		{"::1", "2", "a", "", "[::1]:2"},
		{"", "2", "[::1]", "", "[::1]:2"},
		{"[::1]", "", "[::2]:3", "", "[::1]:3"},
	} {
		text := func(key string) string {
			return map[string]string{filter.StateHost: c.host, filter.StatePort: c.port}[key]
		}
		if got := stated(text, c.authority, c.byDefault); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}
