// Package limiter is the source of the limits that are in force: it evaluates the conditions and quotas of all
// SmartLimiters with the numbers of the moment, and sends what comes out as model.Limits. Numbers are of
// control/limiter/metric; how many replicas there are it counts itself.
//
// A change of a number or of the mesh is carried out at once, at most every 250 ms. A condition whose numbers are not
// there does not hold; a quota whose numbers have gone stays what it was.
//
// Where a SlimeBoot has the module off, nothing is in force. It limits nothing: that proxies do.
package limiter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/base/formula"
	"github.com/weftmesh/weft/control/limiter/metric"
	"github.com/weftmesh/weft/control/model"
)

// Name is the source's name.
const Name = "limiter"

const (
	// apart is the least time between two evaluations.
	apart = 250 * time.Millisecond
	// again is when numbers that nobody renews are looked at again.
	again = time.Second
	// patience is how long a number may be missing before that is a Finding: programs that have
	// just become ready are not measured yet.
	patience = 5 * time.Second
)

// Codes of Findings.
const (
	CodeService = "WEFT0280" // the service is not there
	CodeSubset  = "WEFT0281" // the subset is not there
	CodeValue   = "WEFT0282" // a number is not there, or an expression has no outcome
)

// Snapshots is where SmartLimiters and workloads come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Source evaluates. Make one with New.
type Source struct {
	snapshots Snapshots
	store     *metric.Store
	log       *slog.Logger

	// The rest belongs to Run.
	formulas map[string]*formula.Formula
	last     map[model.Key]*model.Limits
	findings []model.Finding
	patience time.Duration
	missing  map[string]time.Time // by the quotas' IDs: since when
}

// New returns a source.
func New(s Snapshots, store *metric.Store, log *slog.Logger) *Source {
	return &Source{
		snapshots: s, store: store, log: log.With("component", "limiter"),
		formulas: map[string]*formula.Formula{}, last: map[model.Key]*model.Limits{}, patience: patience, missing: map[string]time.Time{},
	}
}

// Name implements source.Source.
func (*Source) Name() string { return Name }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	timer := time.NewTimer(again)
	defer timer.Stop()
	first := true
	for {
		changed, numbers := s.snapshots.Changed(), s.store.Changed()
		snap := s.snapshots.Load()
		if d, different := s.evaluate(snap); different || first {
			first = false
			d.Full = true
			select {
			case out <- d:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.store.Sweep()
		if snap == nil || len(snap.Limiters) == 0 || !model.ModuleOn(snap.Boots, model.ModuleLimiter) {
			numbers = nil // nobody asks
		}
		timer.Reset(again)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
			continue // replicas come and go: this is not put off
		case <-numbers:
		case <-timer.C:
			continue
		}
		timer.Reset(apart)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-timer.C:
		}
	}
}

// evaluate finds out what is in force; not different: the same as before.
func (s *Source) evaluate(snap *model.Snapshot) (model.Delta, bool) {
	d := model.Delta{Source: Name}
	now := map[model.Key]*model.Limits{}
	wanted := map[string]bool{}
	var why []string
	changed := false
	if snap != nil && model.ModuleOn(snap.Boots, model.ModuleLimiter) {
		limits := processes(snap)
		for _, l := range snap.Limiters {
			x := s.one(snap, l, limits, wanted, &d)
			old := s.last[x.Key]
			if old != nil && old.Hash == x.Hash && old.Limiter == l {
				x = old
			} else {
				changed = true
				if news := said(x); old == nil && slices.ContainsFunc(x.Quotas, func(q model.LimitQuota) bool { return q.Active }) || old != nil && news != said(old) {
					why = append(why, l.Key.Title()+": "+news)
				}
			}
			now[x.Key] = x
			d.Upserts = append(d.Upserts, x)
		}
	}
	s.store.Want(slices.Sorted(maps.Keys(wanted)))
	different := changed || len(now) != len(s.last) || !slices.Equal(d.Findings, s.findings)
	s.last, s.findings = now, d.Findings
	d.Why = strings.Join(why, ", ")
	return d, different
}

// processes are the Processes that say what they may use, by "namespace/name".
func processes(snap *model.Snapshot) map[string]*model.Process {
	out := map[string]*model.Process{}
	for _, p := range snap.Processes {
		if p.CPU > 0 || p.Memory > 0 {
			out[p.Key.Namespace+"/"+p.Key.Name] = p
		}
	}
	return out
}

// said tells a person what is in force.
func said(x *model.Limits) string {
	var parts []string
	for i := range x.Quotas {
		if x.Quotas[i].Active {
			parts = append(parts, fmt.Sprintf("%.6g", x.Quotas[i].Quota))
		} else {
			parts = append(parts, "off")
		}
	}
	return "limits " + strings.Join(parts, ", ")
}

// one evaluates a SmartLimiter.
func (s *Source) one(snap *model.Snapshot, l *model.SmartLimiter, limits map[string]*model.Process, wanted map[string]bool, d *model.Delta) *model.Limits {
	x := &model.Limits{Limiter: l, Values: map[string]float64{}}
	x.Key = model.Key{Kind: model.KindLimits, Namespace: l.Key.Namespace, Name: l.Key.Name}
	x.Origin, x.Of = l.Origin, l.Key
	sets, findings := findSets(snap, l)
	d.Findings = append(d.Findings, findings...)
	v := &values{store: s.store, limits: limits, sets: sets, used: x.Values, wanted: wanted}
	before := s.last[x.Key]
	for i := range l.Rules {
		r := &l.Rules[i]
		q := model.LimitQuota{ID: id(l, i)}
		var held *model.LimitQuota // what was in force of the same rule
		if before != nil && before.Limiter == l {
			held = &before.Quotas[i]
		}
		if f := s.quota(l, r, v, held, &q); f != nil {
			d.Findings = append(d.Findings, *f)
		}
		x.Quotas = append(x.Quotas, q)
	}
	x.Hash = hash(l.Hash, fmt.Sprint(x.Quotas))
	return x
}

// quota evaluates one rule; the Finding is what was in the way.
func (s *Source) quota(l *model.SmartLimiter, r *model.LimitRule, v *values, held, q *model.LimitQuota) *model.Finding {
	set := v.sets[r.Set]
	if set == nil {
		return nil // findSets has said so
	}
	in := func(name string) string { return qualified(name, r.Set, v.sets) }
	condition, quota := s.formula(r.Condition, r.Set, in), s.formula(r.Quota, r.Set, in)
	for _, f := range []*formula.Formula{condition, quota} {
		for _, n := range f.Names() {
			v.wanted[plainName(n)] = true
		}
	}
	on, err := condition.True(v.get)
	if errors.Is(err, formula.ErrMissing) && s.soon(q.ID, set) {
		return nil
	}
	if err != nil {
		return fault(l, r, "condition", err, "the limit is off meanwhile")
	}
	delete(s.missing, q.ID)
	n, err := quota.Value(v.get)
	if err == nil && r.Strategy == model.LimitAverage && !slices.Contains(quota.Names(), r.Set+".pod") {
		// What is written is for all: each has its part.
		if len(set.ready) > 0 {
			n /= float64(len(set.ready))
		}
	}
	switch {
	case err == nil:
		q.Quota = max(n, 0)
	case held != nil && held.Quota > 0:
		q.Quota = held.Quota
	default:
		if !on || len(set.ready) == 0 && !errors.Is(err, formula.ErrMissing) {
			return nil // nobody to limit
		}
		return fault(l, r, "action.quota", err, "the limit is off meanwhile")
	}
	q.Active = on
	return nil
}

// soon tells whether it is too early to say that a number is missing.
func (s *Source) soon(id string, of *set) bool {
	if len(of.ready) == 0 {
		return s.patience > 0 // nobody can report anything
	}
	since, noted := s.missing[id]
	if !noted {
		since = time.Now()
		s.missing[id] = since
	}
	return time.Since(since) < s.patience
}

func fault(l *model.SmartLimiter, r *model.LimitRule, field string, err error, then string) *model.Finding {
	f := &model.Finding{
		Code: CodeValue, Severity: model.Warning, Object: l.Key, Field: r.Field + "." + field,
		Message: err.Error() + "; " + then, Remedy: "see that somebody reports it: docs/SMARTLIMITER.md lists who reports what",
	}
	f.Origin = l.At(f.Field)
	return f
}

// formula compiles an expression once. Front ends have seen that it compiles.
func (s *Source) formula(text, set string, in func(string) string) *formula.Formula {
	key := set + "\x00" + text
	if f := s.formulas[key]; f != nil {
		return f
	}
	f, err := formula.Compile(text, in)
	if err != nil {
		s.log.Error("an expression that was read does not compile", "expression", text, "error", err)
		f, _ = formula.Compile("false", nil)
	}
	if len(s.formulas) > 10_000 {
		clear(s.formulas)
	}
	s.formulas[key] = f
	return f
}

// qualified puts the set before a name that says none.
func qualified(name, set string, sets map[string]*set) string {
	if first, _, ok := strings.Cut(name, "."); ok && sets[first] != nil {
		return name
	}
	return set + "." + name
}

// plainName is what reporters call a qualified name.
func plainName(name string) string {
	_, rest, _ := strings.Cut(name, ".")
	if i := strings.LastIndexByte(rest, '.'); i >= 0 && slices.Contains(folds, rest[i+1:]) {
		rest = rest[:i]
	}
	return rest
}
