package limiter

import (
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// findSets finds the workloads of each set of a SmartLimiter, and says what is not there.
func findSets(snap *model.Snapshot, l *model.SmartLimiter) (map[string]*set, []model.Finding) {
	all := workloads(snap, l)
	sets := map[string]*set{model.WholeService: {name: model.WholeService, host: l.Service, ready: ready(all)}}
	var findings []model.Finding
	if l.Service != "" && service(snap, l.Service) == nil {
		f := model.Finding{
			Code: CodeService, Severity: model.Warning, Object: l.Key, Origin: l.Origin,
			Message: "there is no service " + l.Service + ", so that nothing is limited",
			Remedy:  "call the object like the service, in its namespace, or set spec.host",
		}
		findings = append(findings, f)
	}
	subsets := subsetsOf(snap, l.Service)
	for i := range l.Rules {
		name := l.Rules[i].Set
		if sets[name] != nil {
			continue
		}
		at := slices.IndexFunc(subsets, func(s model.Subset) bool { return s.Name == name })
		if at < 0 {
			f := model.Finding{
				Code: CodeSubset, Severity: model.Warning, Object: l.Key, Field: l.Rules[i].Field,
				Message: fmt.Sprintf("there is no subset %q of %s, so that nothing is limited", name, l.Service), Remedy: "add it to the DestinationRule of the host",
			}
			f.Origin = l.At(f.Field)
			if !slices.Contains(findings, f) {
				findings = append(findings, f)
			}
			continue
		}
		var in []*model.Workload
		for _, w := range all {
			if model.Matches(subsets[at].Labels, w.Labels) {
				in = append(in, w)
			}
		}
		sets[name] = &set{name: name, host: l.Service, ready: ready(in)}
	}
	for _, s := range subsets { // expressions may name others
		if sets[s.Name] == nil {
			var in []*model.Workload
			for _, w := range all {
				if model.Matches(s.Labels, w.Labels) {
					in = append(in, w)
				}
			}
			sets[s.Name] = &set{name: s.Name, host: l.Service, ready: ready(in)}
		}
	}
	return sets, findings
}

func service(snap *model.Snapshot, host string) *model.Service {
	for _, s := range snap.Services {
		if s.Host == host {
			return s
		}
	}
	return nil
}

// workloads are those that a SmartLimiter is about.
func workloads(snap *model.Snapshot, l *model.SmartLimiter) (out []*model.Workload) {
	var s *model.Service
	if l.Service != "" {
		if s = service(snap, l.Service); s == nil {
			return nil
		}
	}
	root := snap.Mesh != nil && snap.Mesh.RootNamespace == l.Key.Namespace
	for _, w := range snap.Workloads {
		switch {
		case w.Gateway != l.Gateway:
		case s != nil && !s.Picks(w):
		case s == nil && w.Namespace != l.Key.Namespace && !root:
		case !model.Matches(l.Selector, w.Labels):
		default:
			out = append(out, w)
		}
	}
	return out
}

func ready(list []*model.Workload) (out []*model.Workload) {
	for _, w := range list {
		if w.Ready {
			out = append(out, w)
		}
	}
	return out
}

// subsetsOf are the subsets of a host that DestinationRules name.
func subsetsOf(snap *model.Snapshot, host string) (out []model.Subset) {
	if host == "" {
		return nil
	}
	for _, p := range snap.Policies {
		if p.Host == host {
			out = append(out, p.Subsets...)
		}
	}
	return out
}

// id names a rule for all proxies, for as long as it stands where it does.
func id(l *model.SmartLimiter, i int) string {
	r := &l.Rules[i]
	n := 0
	for j := range i { // lists of addresses make several rules of one
		if l.Rules[j].Field == r.Field {
			n++
		}
	}
	out := l.Key.Namespace + "/" + l.Key.Name + "/" + r.Field
	if n > 0 {
		out += fmt.Sprintf("/%d", n)
	}
	return out
}

func hash(h uint64, text string) uint64 {
	f := fnv.New64a()
	fmt.Fprint(f, h, text)
	return f.Sum64()
}
