package headermutation

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/filter/format"
)

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",`

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind(format.Options{}).Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `"mutations":{"formatters":[{"name":"x"}]}}`:                                                                                    "mutations.formatters",
		typ + `"mutations":{"requestMutations":[{"remove":":path"}]}}`:                                                                        "request_mutations[0]: remove",
		typ + `"mutations":{"responseMutations":[{"append":{"header":{"key":"Host","value":"x"}}}]}}`:                                         "response_mutations[0]: append.header.key",
		typ + `"mutations":{"requestMutations":[{"append":{"header":{"key":"x","value":"%NO_SUCH%"}}}]}}`:                                     "NO_SUCH",
		typ + `"mutations":{"requestMutations":[{"append":{"append":true,"appendAction":"ADD_IF_ABSENT","header":{"key":"x","value":""}}}]}}`: "append_action",
		typ + `"mutations":{"queryParameterMutations":[{}]}}`:                                                                                 "query_parameter_mutations[0]",
		typ + `"mutations":{"queryParameterMutations":[{"append":{"record":{"key":"k","value":{"a":1}}}}]}}`:                                  "record.value",
	})
}

func TestNoAllocations(t *testing.T) {
	s := filtertest.New("x-a", "1")
	f := filtertest.Filter(t, Kind(format.Options{}), typ+`"mutations":{"requestMutations":[{"remove":"x-b"},
		{"append":{"header":{"key":"x-b","value":"%REQ(:METHOD)%"}}},{"append":{"header":{"key":"x-c","value":"c"},"appendAction":"OVERWRITE_IF_EXISTS_OR_ADD"}}]}}`, s)
	run := func() {
		s.Req.Reset()
		s.Req.Method = "GET"
		f.RequestHeaders(s, s.Req, true)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s.Req.Get("x-b") != "GET" {
		t.Error("nothing was done")
	}
}

// FuzzQuery: whatever the query is, the path and the order of equal names stay,
// and what a mutation adds is there.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"", "a=1&b", "%", "%zz=%4", "&&=", "a=%00&a=2"} {
		f.Add(q)
	}
	ms := []mutation{{kind: set, name: "k", text: "v &"}}
	f.Fuzz(func(t *testing.T, q string) {
		out := string(changeQuery(ms, "/p?"+q, &filter.Info{}))
		if !strings.HasPrefix(out, "/p?") || !strings.Contains(out, "k=v%20%26") {
			t.Errorf("%q became %q", q, out)
		}
	})
}
