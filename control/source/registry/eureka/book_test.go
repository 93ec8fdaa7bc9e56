package eureka

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/registry"
)

// sink notes what it is told.
type sink struct{ told []string }

func (s *sink) Service(x registry.Service) {
	var list []string
	for _, in := range x.Instances {
		text := fmt.Sprintf("%s:%d", in.Address, in.Port)
		if in.Off {
			text += " off"
		}
		list = append(list, text)
	}
	s.told = append(s.told, x.Name+" "+strings.Join(list, ","))
}

func (s *sink) Complete(names []string) {
	slices.Sort(names)
	s.told = append(s.told, "all: "+strings.Join(names, " "))
}

// in is an instance as Eureka writes it: "id status port action".
func in(text string) string {
	f := append(strings.Fields(text), "")
	return fmt.Sprintf(`{"instanceId":%q,"ipAddr":"10.0.0.1","status":%q,"port":{"$":%s,"@enabled":"true"},"actionType":%q}`, f[0], f[1], f[2], f[3])
}

// answer is one of the server: its digest, and "APP: instance; instance".
func answer(digest string, apps ...string) string {
	var out []string
	for _, a := range apps {
		name, list, _ := strings.Cut(a, ": ")
		var ins []string
		for _, i := range strings.Split(list, "; ") {
			ins = append(ins, in(i))
		}
		out = append(out, fmt.Sprintf(`{"name":%q,"instance":[%s]}`, name, strings.Join(ins, ",")))
	}
	return fmt.Sprintf(`{"applications":{"apps__hashcode":%q,"application":[%s]}}`, digest, strings.Join(out, ","))
}

func TestDeltas(t *testing.T) {
	var full, delta string
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		text := full
		if r.URL.Path == "/eureka/apps/delta" {
			text = delta
		}
		if text == "" {
			http.Error(w, "no deltas", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	defer server.Close()
	c, err := New(&model.Registry{Addresses: []string{server.URL}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	to := &sink{}
	f := &follower{c: c.(*Client), b: newBook(to), deltas: true}
	whole := answer("UP_3_", "A: a1 UP 1; a2 UP 2", "B: b1 UP 3")
	for _, step := range []struct {
		name, full, delta string
		want              []string
		asked             [2]int // full, deltas
	}{
		{"all", whole, "", []string{"a 10.0.0.1:1,10.0.0.1:2", "b 10.0.0.1:3", "all: a b"}, [2]int{1, 0}},
		{"nothing new", "", answer("UP_3_"), []string{"all: a b"}, [2]int{0, 1}},
		{"one is modified", "", answer("DOWN_1_UP_2_", "A: a1 DOWN 1 MODIFIED"), []string{"a 10.0.0.1:1 off,10.0.0.1:2", "all: a b"}, [2]int{0, 1}},
		{"the same delta", "", answer("DOWN_1_UP_2_", "A: a1 DOWN 1 MODIFIED"), []string{"all: a b"}, [2]int{0, 1}},
		{"the delta grows", "", answer("DOWN_1_UP_3_", "A: a1 DOWN 1 MODIFIED", "C: c1 UP 4 ADDED"), []string{"c 10.0.0.1:4", "all: a b c"}, [2]int{0, 1}},
		{"one is deleted", "", answer("DOWN_1_UP_2_", "C: c1 UP 4 DELETED"), []string{"all: a b"}, [2]int{0, 1}},
		{
			"something was missed", answer("DOWN_1_UP_3_", "A: a1 DOWN 1; a2 UP 2; a3 UP 5", "B: b1 UP 9"), answer("DOWN_1_UP_3_", "B: b1 UP 9 MODIFIED"),
			[]string{"a 10.0.0.1:1 off,10.0.0.1:2,10.0.0.1:5", "b 10.0.0.1:9", "all: a b"}, [2]int{1, 1},
		},
		{"the server was started again", answer(""), answer(""), []string{"all: "}, [2]int{1, 1}},
		{"it has them again, and no deltas any more", whole, "", []string{"a 10.0.0.1:1,10.0.0.1:2", "b 10.0.0.1:3", "all: a b"}, [2]int{1, 1}},
		{"the same", whole, "", []string{"all: a b"}, [2]int{1, 0}},
		{"another", answer("UP_1_", "A: a1 UP 1"), "", []string{"a 10.0.0.1:1", "all: a"}, [2]int{1, 0}},
	} {
		full, delta, to.told = step.full, step.delta, nil
		clear(asked)
		if err := f.step(context.Background()); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if !slices.Equal(to.told, step.want) {
			t.Errorf("%s: told %q, want %q", step.name, to.told, step.want)
		}
		if got := [2]int{asked["/eureka/apps"], asked["/eureka/apps/delta"]}; got != step.asked {
			t.Errorf("%s: asked %v, want %v", step.name, got, step.asked)
		}
	}
	full = "<html>"
	if err := f.step(t.Context()); err == nil {
		t.Error("a page is no answer")
	}
}

// FuzzAnswers: whatever a server says, the digest of what was taken from it is that of what was told.
func FuzzAnswers(f *testing.F) {
	f.Add(answer("UP_1_", "A: a1 UP 1"), answer("UP_1_", "A: a1 UP 1 MODIFIED"))
	f.Add(`{"applications":{"application":{"name":"A","instance":{"port":{"$":1,"@enabled":true}}}}}`, `{}`)
	f.Fuzz(func(t *testing.T, full, delta string) {
		b := newBook(&sink{})
		if b.replace([]byte(full)) != nil {
			return
		}
		if whole, err := b.change([]byte(delta)); err == nil && whole && len(b.untold) > 0 {
			t.Error("something is not told")
		}
		for name, list := range b.apps {
			for id, e := range list {
				if !e.same(e) {
					t.Error(name, id, "is not the same as itself")
				}
			}
		}
	})
}
