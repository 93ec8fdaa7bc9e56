package compare

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTrees(t *testing.T) {
	for _, tc := range []struct {
		name, old, now string
		want           []string
	}{
		{"same", `{"a":[1,{"b":2}]}`, `{"a":[1,{"b":2}]}`, nil},
		{"field", `{"a":{"b":1}}`, `{"a":{"b":2}}`, []string{"a.b changed 1 2"}},
		{"added and removed", `{"a":1}`, `{"b":{"c":1}}`, []string{"a removed 1 <nil>", "b added <nil> map[c:1]"}},
		{"another type", `{"a":[1]}`, `{"a":"x"}`, []string{"a changed [1] x"}},
		{"another message", `{"f":{"@type":"x","n":1}}`, `{"f":{"@type":"y","n":1}}`, []string{"f changed map[@type:x n:1] map[@type:y n:1]"}},
		{"by name", `{"l":[{"name":"a","v":1},{"name":"b"}]}`, `{"l":[{"name":"c"},{"name":"a","v":2}]}`, []string{
			"l[a].v changed 1 2", "l[b] removed map[name:b] <nil>", "l[c] added <nil> map[name:c]",
		}},
		{"order by name", `{"l":[{"name":"a"},{"name":"b"}]}`, `{"l":[{"name":"b"},{"name":"a"}]}`, []string{"l moved [a b] [b a]"}},
		{"inserted in front", `{"l":[{"v":1},{"v":2}]}`, `{"l":[{"v":0},{"v":1},{"v":2}]}`, []string{"l[0] added <nil> map[v:0]"}},
		{"removed in the middle", `{"l":["a","b","c"]}`, `{"l":["a","c"]}`, []string{"l[1] removed b <nil>"}},
		{"changed in the middle", `{"l":[{"v":1},{"v":2,"w":1},{"v":3}]}`, `{"l":[{"v":1},{"v":2,"w":2},{"v":3},{"v":4}]}`, []string{"l[1].w changed 1 2", "l[3] added <nil> map[v:4]"}},
		{"names twice", `{"l":[{"name":"a","v":1},{"name":"a","v":2}]}`, `{"l":[{"name":"a","v":2}]}`, []string{"l[0] removed map[name:a v:1] <nil>"}},
		{"endpoints", `{"endpoints":[{"lbEndpoints":[{"endpoint":{"address":{"socketAddress":{"address":"1.2.3.4","portValue":80}}}}]}]}`,
			`{"endpoints":[{"lbEndpoints":[{"endpoint":{"address":{"socketAddress":{"address":"1.2.3.4","portValue":80}}},"healthStatus":"DRAINING"}]}]}`,
			[]string{"endpoints[no locality].lbEndpoints[1.2.3.4:80].healthStatus added <nil> DRAINING"}},
		{"filter chains", `{"c":[{"filterChainMatch":{"destinationPort":80},"name":"x"},{"name":"x"}]}`, `{"c":[{"name":"x"}]}`,
			[]string{"c[0 80] removed map[filterChainMatch:map[destinationPort:80] name:x] <nil>"}},
		{"whose it is", `{"r":[{"metadata":{"filterMetadata":{"istio":{"config":"/apis/networking.istio.io/v1/namespaces/n/virtual-service/v"}}},"t":1}]}`,
			`{"r":[{"metadata":{"filterMetadata":{"istio":{"config":"/apis/networking.istio.io/v1/namespaces/n/virtual-service/v"}}},"t":2}]}`,
			[]string{"r[0].t changed 1 2 by VirtualService n/v"}},
		{"nothing", `{}`, `{"a":null}`, []string{"a added <nil> <nil>"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var a, b any
			if json.Unmarshal([]byte(tc.old), &a) != nil || json.Unmarshal([]byte(tc.now), &b) != nil {
				t.Fatal("bad JSON")
			}
			d := &differ{}
			d.compare("", a, b)
			var got []string
			for _, c := range d.changes {
				s := fmt.Sprint(c.Path, " ", c.Kind, " ", c.Old, " ", c.New)
				if c.By != "" {
					s += " by " + c.By
				}
				got = append(got, s)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// FuzzTrees: two trees that are not the same have a difference, and one that is is none.
func FuzzTrees(f *testing.F) {
	f.Add(`{"l":[{"name":"a"},{"name":"b"}]}`, `{"l":[{"name":"b"},{"name":"a"}]}`)
	f.Add(`[1,[2],{"a":[]}]`, `[1,[2,3],{"a":[{}]}]`)
	f.Fuzz(func(t *testing.T, x, y string) {
		if len(x)+len(y) > 2000 {
			return
		}
		var a, b any
		if json.Unmarshal([]byte(x), &a) != nil || json.Unmarshal([]byte(y), &b) != nil {
			return
		}
		canonical := func(v any) string {
			raw, _ := json.Marshal(v)
			return string(raw)
		}
		d := &differ{}
		d.compare("", a, b)
		if same := canonical(a) == canonical(b); same != (len(d.changes) == 0) && !strings.Contains(x+y, "null") {
			t.Errorf("%s and %s: %d differences", x, y, len(d.changes))
		}
	})
}
