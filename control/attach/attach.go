// Package attach joins the objects of Gateway API and Ingress that mean nothing
// alone: which Gateways are ours, which listeners exclude each other, which
// routes attach to which listeners or services, what they may refer to, and in
// what order the rules of all of them are tried. Out come the model's Gateways,
// RouteSets and TrafficPolicySets, as every other front end makes them.
//
// It is a pure function of a snapshot: same objects, same outcome. What it has
// to say about an object's conditions (Accepted, ResolvedRefs, Programmed,
// Conflicted) is in Findings, one per fault, and in Verdicts, one per object that is
// ours; a listener or reference at fault stops no other one.
//
// It writes no status (control/gwstatus makes it of the Verdicts), looks at no protocol and decides nothing that one
// document alone decides: that is control/source's.
package attach

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/weftmesh/weft/control/model"
)

// Codes of the Findings of this package, by the condition of Gateway API that
// would be false.
const (
	CodeAccepted   = "WEFT0401" // Accepted
	CodeRefs       = "WEFT0402" // ResolvedRefs
	CodeProgrammed = "WEFT0403" // Programmed
	CodeConflicted = "WEFT0404" // Conflicted (which is true then)
	CodeForeign    = "WEFT0405" // another controller's
)

// Attach makes what the Gateway API and Ingress objects of a snapshot amount
// to. What is the same as in last is the same pointer again; last may be nil.
func Attach(s *model.Snapshot, last *model.APIOutcome) *model.APIOutcome {
	if s.API.Empty() {
		return &model.APIOutcome{}
	}
	a := newAttacher(s)
	a.gateways()
	a.routes()
	a.ingresses()
	a.backendTLS()
	a.judge()
	a.finish(last)
	return &a.out
}

// attacher is the work of one Attach.
type attacher struct {
	s   *model.Snapshot
	out model.APIOutcome

	services map[string]*model.Service // "namespace/name", those of Kubernetes
	hosts    map[string]*model.Service
	labels   map[string]map[string]string // of namespaces
	gws      map[model.Key]*gateway
	sets     map[model.Key]*gateway // ListenerSets by their key
	mesh     map[*model.Service][]attachment
	said     map[string]bool // findings that were made
	backends map[*model.APIBackend]model.Destination
	// refs are the first faults of routes' references; users the Gateways whose routes
	// use a service.
	refs  map[*model.APIRoute]model.APIFault
	users map[string][]*gateway
}

func newAttacher(s *model.Snapshot) *attacher {
	a := &attacher{
		s: s, services: map[string]*model.Service{}, hosts: map[string]*model.Service{}, labels: map[string]map[string]string{},
		gws: map[model.Key]*gateway{}, sets: map[model.Key]*gateway{}, mesh: map[*model.Service][]attachment{},
		said: map[string]bool{}, backends: map[*model.APIBackend]model.Destination{},
		refs: map[*model.APIRoute]model.APIFault{}, users: map[string][]*gateway{},
	}
	a.out.Verdicts = map[model.Key]*model.APIVerdict{}
	for _, svc := range s.Services {
		if !svc.FromEntry {
			a.services[svc.Namespace+"/"+svc.Name] = svc
		}
		if a.hosts[svc.Host] == nil {
			a.hosts[svc.Host] = svc
		}
	}
	for _, ns := range s.Namespaces {
		a.labels[ns.Key.Name] = ns.Labels
	}
	return a
}

// namespaceLabels are a namespace's labels with the one that Kubernetes gives to each.
func (a *attacher) namespaceLabels(ns string) map[string]string {
	out := map[string]string{"kubernetes.io/metadata.name": ns}
	for k, v := range a.labels[ns] {
		out[k] = v
	}
	return out
}

// admits tells whether a filter of an object in the namespace own admits another namespace.
func (a *attacher) admits(f *model.NamespaceFilter, own, other string) bool {
	return f.All || f.Same && own == other || f.Selector != nil && f.Selector.Matches(a.namespaceLabels(other))
}

// granted tells whether an object of a kind may refer to one of another namespace.
func (a *attacher) granted(from model.GrantFrom, to model.Ref) bool {
	if from.Namespace == to.Namespace {
		return true
	}
	return slices.ContainsFunc(a.s.API.Grants, func(g *model.ReferenceGrant) bool {
		return g.Key.Namespace == to.Namespace && slices.Contains(g.From, from) &&
			slices.ContainsFunc(g.To, func(t model.GrantTo) bool {
				return t.Group == to.Group && t.Kind == to.Kind && (t.Name == "" || t.Name == to.Name)
			})
	})
}

// spot is what a Finding is about: the condition's code and the field.
type spot struct{ code, field string }

// say makes a Finding, once for each field and message.
func (a *attacher) say(m *model.Meta, at spot, remedy, format string, args ...any) {
	a.report(m, model.Finding{Severity: model.Error, Code: at.code, Field: at.field, Remedy: remedy, Message: fmt.Sprintf(format, args...)})
}

func (a *attacher) report(m *model.Meta, f model.Finding) {
	f.Object, f.Origin = m.Key, m.At(f.Field)
	if id := f.String(); !a.said[id] {
		a.said[id] = true
		a.out.Findings = append(a.out.Findings, f)
	}
}

// finish gives each object its hash and puts the old pointer in place of an
// equal new one, so that later stages see what did not change.
func (a *attacher) finish(last *model.APIOutcome) {
	if last == nil {
		last = &model.APIOutcome{}
	}
	a.out.Gateways = settle(a.out.Gateways, last.Gateways)
	a.out.Routes = settle(a.out.Routes, last.Routes)
	a.out.Policies = settle(a.out.Policies, last.Policies)
	slices.SortStableFunc(a.out.Findings, func(x, y model.Finding) int {
		return cmp.Or(strings.Compare(x.Object.String(), y.Object.String()), strings.Compare(x.Field, y.Field))
	})
}

func settle[T model.Object](now, last []T) []T {
	old := make(map[model.Key]T, len(last))
	for _, o := range last {
		old[o.Head().Key] = o
	}
	same := len(now) == len(last)
	for i, o := range now {
		m := o.Head()
		m.Hash = hash(o)
		if was, ok := old[m.Key]; ok && was.Head().Hash == m.Hash && was.Head().Origin == m.Origin {
			now[i] = was
		}
		same = same && now[i].Head() == last[i].Head()
	}
	if same {
		return last
	}
	return now
}

// hash covers the content; lines do not count.
func hash(o model.Object) uint64 {
	m := o.Head()
	lines, origin := m.Lines, m.Origin
	m.Lines, m.Origin = model.Lines{}, model.Origin{}
	raw, err := json.Marshal(o)
	m.Lines, m.Origin = lines, origin
	if err != nil {
		panic("BUG: a model object cannot be written as JSON: " + err.Error())
	}
	return xxhash.Sum64(raw)
}
