package patch

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// Set is the patches of one proxy, in the order in which they apply. Proxies with the
// same patches have the same Set. A nil Set has none.
type Set struct {
	all []*patch
	by  map[model.ApplyTo][]*patch
}

// Set makes the Set of some patches; nil when none of them is usable.
func (c *Compiler) Set(refs []model.PatchRef) *Set {
	if len(refs) == 0 {
		return nil
	}
	var b strings.Builder
	for _, r := range refs {
		fmt.Fprintf(&b, "%p %d ", r.Filter, r.Index)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := b.String()
	if s := c.sets[key]; s != nil {
		return s
	}
	s := &Set{by: map[model.ApplyTo][]*patch{}}
	for _, r := range refs {
		if p := c.read(r.Filter).patches[r.Index]; p != nil {
			s.all = append(s.all, p)
			s.by[p.ApplyTo] = append(s.by[p.ApplyTo], p)
		}
	}
	if len(s.all) == 0 {
		return nil
	}
	c.sets[key] = s
	return s
}

// Key names the patches of a kind: Sets with the same ones have the same key. It is
// empty where there are none.
func (s *Set) Key(to model.ApplyTo) string {
	if s == nil {
		return ""
	}
	var b strings.Builder
	for _, p := range s.by[to] {
		fmt.Fprintf(&b, "%s %x %d ", p.ref.Filter.Key, p.ref.Filter.Hash, p.ref.Index)
	}
	return b.String()
}

// of are the patches of a kind that are for a context.
func (s *Set) of(to model.ApplyTo, context model.PatchContext) []*patch {
	var out []*patch
	for _, p := range s.by[to] {
		if p.Context == context || p.Context == model.AnyContext {
			out = append(out, p)
		}
	}
	return out
}

// Touches tells whether some patch of these kinds may apply in a context.
func (s *Set) Touches(context model.PatchContext, kinds ...model.ApplyTo) bool {
	if s == nil {
		return false
	}
	for _, to := range kinds {
		if len(s.of(to, context)) > 0 {
			return true
		}
	}
	return false
}

// Result is what patching has to say beside the resource.
type Result struct {
	// Touched are the patches that have changed it.
	Touched []model.PatchRef
	// Findings are about those that were left out.
	Findings []model.Finding
}

// run is one application of patches to one resource.
type run struct {
	set     *Set
	context model.PatchContext
	hosts   []string            // of an inbound cluster
	ports   map[uint32][]uint32 // see Routes
	// only, when not nil, are the patches that may apply.
	only map[*patch]bool
	// touched are those that have, changes counts how often.
	touched []*patch
	changes int
	report  func(model.Finding)
}

// patches are those of a kind that may apply.
func (r *run) patches(to model.ApplyTo) []*patch {
	list := r.set.of(to, r.context)
	if r.only == nil {
		return list
	}
	var out []*patch
	for _, p := range list {
		if r.only[p] {
			out = append(out, p)
		}
	}
	return out
}

func (r *run) touch(p *patch) {
	r.changes++
	if !slices.Contains(r.touched, p) {
		r.touched = append(r.touched, p)
	}
}

// apply runs do on a copy of m. Where what comes out is not what Envoy takes, it is
// run again with one more of the patches at a time, and those that break it are left
// out.
func apply[M interface {
	comparable
	proto.Message
}](r *run, m M, do func(*run, M) M) (out M, res Result) {
	var none M
	try := func(only map[*patch]bool, report func(model.Finding)) (M, []*patch, error) {
		next := *r
		next.only, next.report, next.touched, next.changes = only, report, nil, 0
		out := do(&next, proto.Clone(m).(M))
		if len(next.touched) == 0 || out == none {
			return out, next.touched, nil
		}
		return out, next.touched, validateMessage("", out.ProtoReflect())
	}
	out, touched, err := try(nil, func(f model.Finding) { res.Findings = append(res.Findings, f) })
	if err != nil && validateMessage("", m.ProtoReflect()) == nil {
		good := map[*patch]bool{}
		for _, p := range touched {
			good[p] = true
			if _, _, err := try(good, func(model.Finding) {}); err != nil {
				delete(good, p)
				res.Findings = append(res.Findings, p.finding(CodeBreaks, "", "breaks "+name(m)+": "+textOf(err), "until it is changed, the other patches apply without it"))
			}
		}
		out, touched, _ = try(good, func(model.Finding) {})
	}
	if len(touched) == 0 {
		return m, res // the very object
	}
	for _, p := range touched {
		res.Touched = append(res.Touched, p.ref)
	}
	return out, res
}

// name is what a resource is called.
func name(m proto.Message) string {
	if n, ok := m.(interface{ GetName() string }); ok {
		return n.GetName()
	}
	return string(m.ProtoReflect().Descriptor().Name())
}
