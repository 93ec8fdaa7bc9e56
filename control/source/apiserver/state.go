package apiserver

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// CodeAPIServer is the code of Findings about the server itself.
const CodeAPIServer = "WEFT0118"

// state is what is known of all objects.
type state struct {
	items map[resource]map[name]*outcome
	// faulty are those with Findings.
	faulty map[resource]map[name]bool
	// at says where nodes are, on which pods run; as is what a pod's workload was before
	// its node's place was added.
	at map[string]model.Locality
	on map[string]map[name]*model.Workload
	// said are the Findings of the last delta.
	said []model.Finding
}

func newState() state {
	return state{
		items: map[resource]map[name]*outcome{}, faulty: map[resource]map[name]bool{},
		at: map[string]model.Locality{}, on: map[string]map[name]*model.Workload{},
	}
}

// apply takes changes of a kind in, and adds what comes of them to a delta.
func (s *state) apply(r resource, in news, d *model.Delta) {
	have := s.items[r]
	if have == nil {
		have = map[name]*outcome{}
		s.items[r], s.faulty[r] = have, map[name]bool{}
	}
	if in.whole && r == nodes {
		for n := range s.at {
			if _, ok := in.changes[name{name: n}]; !ok {
				s.locate(name{name: n}, nil, d)
			}
		}
	}
	if in.whole {
		for n := range have {
			if _, ok := in.changes[n]; !ok {
				s.set(r, n, nil, d)
			}
		}
	}
	for n, it := range in.changes {
		switch {
		case r == nodes:
			s.locate(n, it, d)
		case it == nil:
			s.set(r, n, nil, d)
		default:
			s.set(r, n, &it.outcome, d)
		}
	}
}

// set is one object's new outcome; nil: it is gone.
func (s *state) set(r resource, n name, next *outcome, d *model.Delta) {
	old := s.items[r][n]
	if r == pods {
		next = s.place(n, old, next)
	}
	if next == nil {
		delete(s.items[r], n)
		delete(s.faulty[r], n)
		next = &outcome{}
	} else {
		if next.bad && old != nil && len(old.objects) > 0 {
			next.objects = old.objects
			h := old.objects[0].Head()
			next.findings = append(next.findings, document.LastGood(h.Key, h.Origin))
		}
		s.items[r][n] = next
		delete(s.faulty[r], n)
		if len(next.findings) > 0 {
			s.faulty[r][n] = true
		}
	}
	if old == nil {
		old = &outcome{}
	}
	difference(old.objects, next.objects, d)
}

// difference adds what makes one list of objects of another.
func difference(old, next []model.Object, d *model.Delta) {
	for _, o := range next {
		h := o.Head()
		same := slices.ContainsFunc(old, func(x model.Object) bool { return x.Head().Key == h.Key && x.Head().Hash == h.Hash })
		if !same {
			d.Upserts = append(d.Upserts, o)
		}
	}
	for _, o := range old {
		k := o.Head().Key
		if !slices.ContainsFunc(next, func(x model.Object) bool { return x.Head().Key == k }) {
			d.Deletes = append(d.Deletes, k)
		}
	}
}

// place adds to a pod's workload where its node is.
func (s *state) place(n name, old, next *outcome) *outcome {
	if old != nil && len(old.objects) > 0 {
		delete(s.on[old.objects[0].(*model.Workload).Node], n)
	}
	if next == nil || len(next.objects) == 0 {
		return next
	}
	w := next.objects[0].(*model.Workload)
	if s.on[w.Node] == nil {
		s.on[w.Node] = map[name]*model.Workload{}
	}
	s.on[w.Node][n] = w
	return &outcome{objects: []model.Object{s.placed(w)}, findings: next.findings}
}

// placed is a workload at the place of its node, unless its labels say another.
func (s *state) placed(w *model.Workload) *model.Workload {
	at := s.at[w.Node]
	if at == (model.Locality{}) || w.Locality != (model.Locality{}) {
		return w
	}
	moved := *w
	moved.Locality = at
	seal(&moved)
	return &moved
}

// locate is where a node is now; nil: it is gone.
func (s *state) locate(n name, it *item, d *model.Delta) {
	was := s.at[n.name]
	if it == nil || it.location == nil {
		delete(s.at, n.name)
	} else {
		s.at[n.name] = it.location.is
	}
	if s.at[n.name] == was {
		return
	}
	for pod, w := range s.on[n.name] {
		old := s.items[pods][pod]
		next := &outcome{objects: []model.Object{s.placed(w)}, findings: old.findings}
		s.items[pods][pod] = next
		difference(old.objects, next.objects, d)
	}
}

// all are the objects of all kinds, in a stable order.
func (s *state) all() (out []model.Object) {
	for _, items := range s.items {
		for _, o := range items {
			out = append(out, o.objects...)
		}
	}
	slices.SortFunc(out, func(a, b model.Object) int { return strings.Compare(a.Head().Key.String(), b.Head().Key.String()) })
	return out
}

// findings are all that is wrong; different: they are others than last time.
func (s *Source) findings() (out []model.Finding, different bool) {
	out = s.own()
	var of []model.Finding
	for r, names := range s.state.faulty {
		for n := range names {
			of = append(of, s.state.items[r][n].findings...)
		}
	}
	slices.SortStableFunc(of, func(a, b model.Finding) int {
		return cmp.Or(strings.Compare(a.Object.String(), b.Object.String()), strings.Compare(a.Field, b.Field), strings.Compare(a.Message, b.Message))
	})
	out = append(out, of...)
	different = !slices.Equal(out, s.state.said)
	s.state.said = out
	return out, different
}

// own are the Findings about the server.
func (s *Source) own() (out []model.Finding) {
	say := func(message, remedy string) {
		out = append(out, model.Finding{Code: CodeAPIServer, Severity: model.Warning, Origin: model.Origin{Source: Name}, Message: message, Remedy: remedy})
	}
	if s.trouble != "" {
		say("the API server cannot be reached: "+s.trouble+"; its last state stands", "see that it runs, and that the kubeconfig is right")
	}
	failed := map[string][]string{}
	for _, r := range slices.SortedFunc(maps.Keys(s.following), func(a, b resource) int { return strings.Compare(a.String(), b.String()) }) {
		f := s.following[r]
		f.mu.Lock()
		denied, failure, listed := f.denied, f.failed, f.listed
		f.mu.Unlock()
		stands := "none is known"
		if listed {
			stands = "their last state stands"
		}
		switch {
		case denied != "":
			say(fmt.Sprintf("%s may not be read: %s; %s", r, denied, stands), "let the control plane's service account get, list and watch "+r.String())
		case failure != "":
			failed[failure] = append(failed[failure], r.String())
		}
	}
	for _, why := range slices.Sorted(maps.Keys(failed)) {
		list := failed[why]
		what := strings.Join(list, ", ")
		if len(list) > 3 {
			what = fmt.Sprintf("%s and %d more", strings.Join(list[:3], ", "), len(list)-3)
		}
		say(fmt.Sprintf("%s cannot be read: %s; their last state stands", what, why), "see that the API server runs; it is tried again")
	}
	return out
}
