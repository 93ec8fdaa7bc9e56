package scope

import (
	"sort"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// policyTable holds the DestinationRules of one namespace.
type policyTable struct {
	exact map[string][]*model.TrafficPolicySet
	wild  []*model.TrafficPolicySet // longest pattern first, then snapshot order
}

func (x *Index) addPolicy(p *model.TrafficPolicySet) {
	t := x.policies[p.Key.Namespace]
	if t == nil {
		t = &policyTable{exact: map[string][]*model.TrafficPolicySet{}}
		x.policies[p.Key.Namespace] = t
	}
	if !strings.HasPrefix(p.Host, "*") {
		t.exact[p.Host] = append(t.exact[p.Host], p)
		return
	}
	at := sort.Search(len(t.wild), func(i int) bool { return len(t.wild[i].Host) < len(p.Host) })
	t.wild = append(t.wild, nil)
	copy(t.wild[at+1:], t.wild[at:])
	t.wild[at] = p
}

// find returns the sets of the most specific host that admit the client.
func (t *policyTable) find(host string, admit func(*model.TrafficPolicySet) bool) []*model.TrafficPolicySet {
	if t == nil {
		return nil
	}
	var out []*model.TrafficPolicySet
	for _, p := range t.exact[host] {
		if admit(p) {
			out = append(out, p)
		}
	}
	if out != nil {
		return out
	}
	best := ""
	for _, p := range t.wild {
		if best != "" && p.Host != best {
			break
		}
		if hostMatches(p.Host, host) && admit(p) {
			out, best = append(out, p), p.Host
		}
	}
	return out
}

// Policy is what all DestinationRules together say about a host to one client.
type Policy struct {
	// Keys are the objects that have a say, the first one decides conflicts.
	Keys    []model.Key
	Traffic model.TrafficPolicy
	Subsets []model.Subset
}

// Policy returns what holds for a service as this proxy calls it; never nil.
// The proxy's own namespace has the first word, then the service's, then the
// root namespace's: rules of one namespace for one host are joined.
func (v *View) Policy(s *model.Service) *Policy {
	if p, ok := v.policyOf[s]; ok {
		return p
	}
	p := v.findPolicy(s)
	v.policyOf[s] = p
	return p
}

func (v *View) findPolicy(s *model.Service) *Policy {
	own := v.Proxy.Namespace()
	labels := v.Proxy.Labels()
	exported := func(p *model.TrafficPolicySet) bool {
		return p.Exports.To(own) && p.Selector == nil
	}
	local := func(p *model.TrafficPolicySet) bool {
		return p.Exports.To(own) && (p.Selector == nil || model.Matches(p.Selector, labels))
	}
	if own != v.Mesh.RootNamespace {
		if list := v.Index.policies[own].find(s.Host, local); len(list) > 0 {
			return joinPolicies(list)
		}
	}
	if s.Namespace != own || own == v.Mesh.RootNamespace {
		if list := v.Index.policies[s.Namespace].find(s.Host, exported); len(list) > 0 {
			return joinPolicies(list)
		}
	}
	return joinPolicies(v.Index.policies[v.Mesh.RootNamespace].find(s.Host, exported))
}

func joinPolicies(list []*model.TrafficPolicySet) *Policy {
	out := &Policy{}
	// A rule that names this workload beats one for everybody.
	for _, selected := range []bool{true, false} {
		for _, set := range list {
			if (set.Selector != nil) == selected {
				out.add(set)
			}
		}
		if len(out.Keys) > 0 {
			return out
		}
	}
	return out
}

func (p *Policy) add(set *model.TrafficPolicySet) {
	if len(p.Keys) == 0 || emptyPolicy(p.Traffic) {
		p.Traffic = set.Policy
	}
	p.Keys = append(p.Keys, set.Key)
	for _, sub := range set.Subsets {
		if p.Subset(sub.Name) == nil {
			p.Subsets = append(p.Subsets, sub)
		}
	}
}

func emptyPolicy(t model.TrafficPolicy) bool {
	return t.LB == nil && t.Pool == nil && t.Outlier == nil && t.TLS == nil && len(t.Ports) == 0 && t.ProxyProtocol == 0
}

// Parts returns every TrafficPolicy in it, of all subsets and ports.
func (p *Policy) Parts() []model.TrafficPolicy {
	out := []model.TrafficPolicy{p.Traffic}
	for i := range p.Subsets {
		out = append(out, p.Subsets[i].Policy)
	}
	for _, t := range out {
		for _, at := range t.Ports {
			out = append(out, at)
		}
	}
	return out
}

// Subset returns the subset of that name, or nil.
func (p *Policy) Subset(name string) *model.Subset {
	for i := range p.Subsets {
		if p.Subsets[i].Name == name {
			return &p.Subsets[i]
		}
	}
	return nil
}

// For returns what holds for one port and subset (empty: none). A port's own
// settings take the place of all others of their level, as Istio documents: what
// they leave out has its default. A subset's parts then replace the whole's.
func (p *Policy) For(port uint16, subset string) model.TrafficPolicy {
	out := atPort(p.Traffic, port)
	sub := p.Subset(subset)
	if subset == "" || sub == nil {
		return out
	}
	out = overlay(out, sub.Policy)
	if own, ok := sub.Policy.Ports[port]; ok {
		return own
	}
	return out
}

func atPort(t model.TrafficPolicy, port uint16) model.TrafficPolicy {
	if own, ok := t.Ports[port]; ok {
		return own
	}
	return t
}

func overlay(base, over model.TrafficPolicy) model.TrafficPolicy {
	if over.LB != nil {
		base.LB = over.LB
	}
	if over.Pool != nil {
		base.Pool = over.Pool
	}
	if over.Outlier != nil {
		base.Outlier = over.Outlier
	}
	if over.TLS != nil {
		base.TLS = over.TLS
	}
	if over.ProxyProtocol != 0 {
		base.ProxyProtocol = over.ProxyProtocol
	}
	return base
}
