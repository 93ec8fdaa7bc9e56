package resource

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// TestBytes: the fields that responses are put together of are what protobuf would
// have made.
func TestBytes(t *testing.T) {
	for _, message := range []string{"", "x", strings.Repeat("long ", 1000)} {
		r := New("type.example/T", "name", "v1", []byte(message))
		if string(r.Body.GetValue()) != message {
			t.Errorf("the body is %q", r.Body.GetValue())
		}
		body := &anypb.Any{TypeUrl: "type.example/T", Value: []byte(message)}
		for _, tc := range []struct {
			want, into proto.Message
			bytes      []byte
		}{
			{want: &discoverypb.DeltaDiscoveryResponse{Resources: []*discoverypb.Resource{{Name: "name", Version: "v1", Resource: body}}},
				into: &discoverypb.DeltaDiscoveryResponse{}, bytes: r.Delta.ReadOnlyData()},
			{want: &discoverypb.DiscoveryResponse{Resources: []*anypb.Any{body}}, into: &discoverypb.DiscoveryResponse{}, bytes: r.World.ReadOnlyData()},
		} {
			if err := proto.Unmarshal(tc.bytes, tc.into); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(tc.into, tc.want) {
				t.Errorf("got %v, want %v", tc.into, tc.want)
			}
		}
	}
}

func res(name string, version int) *Resource {
	return &Resource{Name: name, Version: fmt.Sprint(version)}
}

// history is a set and, in plain maps, what it should have.
type history struct {
	set         *Set
	common, own map[string]string
}

func (h history) version(name string) string { return h.common[name] + h.own[name] }

// TestSetsFollow changes layers at random, in lines that fork, and holds sets of
// them against plain maps: what they have, and that nothing differs between two but
// what Since names.
func TestSetsFollow(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		all := []history{{Compose(nil, nil), map[string]string{}, map[string]string{}}}
		known := 0
		for range 100 {
			next := all[max(0, len(all)-1-rnd.IntN(3))].step(rnd)
			if t.Failed() {
				return
			}
			next.check(t)
			for _, old := range all {
				names, ok := next.set.Since(old.set)
				if !ok {
					continue
				}
				known++
				for i := range names12 {
					n := fmt.Sprintf("r%d", i)
					if old.version(n) != next.version(n) && !slices.Contains(names, n) {
						t.Fatalf("seed %d: %s was %q and is %q, Since names %q", seed, n, old.version(n), next.version(n), names)
					}
				}
			}
			all = append(all, next)
		}
		if known < 100 {
			t.Errorf("seed %d: only %d differences were known: the test shows little", seed, known)
		}
	}
}

const names12 = 12

// step is a history that comes after another by a random change.
func (h history) step(rnd *rand.Rand) history {
	next := history{common: maps.Clone(h.common), own: maps.Clone(h.own)}
	common, own := h.set.common, h.set.own
	random := func() *Resource { return res(fmt.Sprintf("r%d", rnd.IntN(names12)), rnd.IntN(3)) }
	switch rnd.IntN(4) {
	case 0:
		a, gone := random(), random().Name
		common = common.With([]*Resource{a}, []string{gone})
		next.common[a.Name] = a.Version
		delete(next.common, gone)
	case 1:
		a := random()
		next.common[a.Name] = a.Version
		list := listOf(next.common)
		rnd.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		common = common.Become(list)
	default:
		a := random()
		next.own[a.Name] = a.Version
		own = own.With([]*Resource{a}, nil)
	}
	next.set = Compose(common, own)
	for n := range next.common {
		delete(next.own, n) // covered
	}
	return next
}

// check compares a set with what it should have.
func (h history) check(t *testing.T) {
	t.Helper()
	want := listOf(h.common)
	want = append(want, listOf(h.own)...)
	slices.SortFunc(want, func(a, b *Resource) int { return strings.Compare(a.Name, b.Name) })
	got := h.set.List()
	same := slices.EqualFunc(got, want, func(a, b *Resource) bool { return a.Name == b.Name && a.Version == b.Version })
	if !same || h.set.Len() != len(want) {
		t.Fatalf("the set has %d resources %v, want %v", h.set.Len(), got, want)
	}
	for i := range names12 {
		n := fmt.Sprintf("r%d", i)
		version := ""
		if r := h.set.Get(n); r != nil {
			version = r.Version
		}
		if version != h.version(n) {
			t.Fatalf("%s has version %q, want %q", n, version, h.version(n))
		}
	}
}

func listOf(m map[string]string) (out []*Resource) {
	for k, v := range m {
		out = append(out, &Resource{Name: k, Version: v})
	}
	return out
}

// TestSameObjects: what has not changed stays the same object, and a layer of
// nothing new is the layer itself.
func TestSameObjects(t *testing.T) {
	a, b := res("a", 1), res("b", 1)
	l := NewLayer([]*Resource{b, a, res("a", 2)})
	if l.Get("a") != a || len(l.List()) != 2 {
		t.Errorf("of two with one name the first stays; got %v", l.List())
	}
	if l.With([]*Resource{res("a", 1)}, []string{"c"}) != l || l.Become([]*Resource{res("a", 1), res("b", 1)}) != l {
		t.Error("nothing has changed, and it is another layer")
	}
	if next := l.Become([]*Resource{res("a", 1), res("b", 2)}); next.Get("a") != a || next.Get("b") == b {
		t.Errorf("got %v", next.List())
	}
}
