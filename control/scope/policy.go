package scope

import (
	"maps"
	"slices"
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
	Keys []model.Key
	// Sets are these objects.
	Sets    []*model.TrafficPolicySet
	Traffic model.TrafficPolicy
	Subsets []model.Subset
	// What holds where no rule sets the part: the mesh's.
	pool    *model.ConnectionPool
	outlier *model.Outlier
}

// Policy returns what holds for a service as this proxy calls it; never nil.
// The proxy's own namespace has the first word, then the service's, then the
// root namespace's: rules of one namespace for one host are joined.
func (v *View) Policy(s *model.Service) *Policy {
	if p, ok := v.policyOf[s]; ok {
		return p
	}
	p := v.findPolicy(s)
	p.pool, p.outlier = v.Mesh.DefaultPool, v.Mesh.DefaultOutlier
	v.policyOf[s] = p
	return p
}

func (v *View) findPolicy(s *model.Service) *Policy {
	own := v.Proxy.Namespace()
	labels := v.Proxy.Labels()
	host := s.Host
	if s.Instance != "" { // what is said of the service holds for each of its instances
		_, host, _ = strings.Cut(host, ".")
	}
	exported := func(p *model.TrafficPolicySet) bool {
		return p.Exports.To(own) && p.Selector == nil
	}
	local := func(p *model.TrafficPolicySet) bool {
		return p.Exports.To(own) && (p.Selector == nil || model.Matches(p.Selector, labels))
	}
	if own != v.Mesh.RootNamespace {
		if list := v.Index.policies[own].find(host, local); len(list) > 0 {
			return joinPolicies(list)
		}
	}
	if s.Namespace != own || own == v.Mesh.RootNamespace {
		if list := v.Index.policies[s.Namespace].find(host, exported); len(list) > 0 {
			return joinPolicies(list)
		}
	}
	return joinPolicies(v.Index.policies[v.Mesh.RootNamespace].find(host, exported))
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
	p.Keys, p.Sets = append(p.Keys, set.Key), append(p.Sets, set)
	for _, sub := range set.Subsets {
		if p.Subset(sub.Name) == nil {
			p.Subsets = append(p.Subsets, sub)
		}
	}
}

func emptyPolicy(t model.TrafficPolicy) bool {
	return t.LB == nil && t.Pool == nil && t.Outlier == nil && t.TLS == nil && len(t.Ports) == 0 && t.ProxyProtocol == 0 && t.RetryBudget == nil && t.Tunnel == nil
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

// For returns what a client does for one port and subset (empty: none): what the
// rules say, and the mesh's defaults for the parts that they leave out.
func (p *Policy) For(port uint16, subset string) model.TrafficPolicy {
	out := p.Ruled(port, subset)
	if out.Pool == nil {
		out.Pool = p.pool
	}
	if out.Outlier == nil {
		out.Outlier = p.outlier
	}
	return out
}

// Ruled returns what rules say of one port and subset (empty: none). A port's own
// settings take the place of all others of their level, as Istio documents: what
// they leave out has its default. A subset's parts then replace the whole's.
func (p *Policy) Ruled(port uint16, subset string) model.TrafficPolicy {
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
	if over.RetryBudget != nil {
		base.RetryBudget = over.RetryBudget
	}
	if over.Tunnel != nil {
		base.Tunnel = over.Tunnel
	}
	return base
}

// OfStreams tells whether a policy says something that is carried out where connections
// of opaque bytes come in, beside what a cluster does.
func OfStreams(p model.TrafficPolicy) bool {
	hash := p.LB != nil && p.LB.Algorithm == model.ConsistentHash && p.LB.Hash != nil && p.LB.Hash.SourceIP
	times := p.Pool != nil && (p.Pool.TCPIdleTimeout > 0 || p.Pool.MaxConnectionDuration > 0)
	return hash || times || p.Tunnel != nil
}

// StreamPolicies are the hosts of policies of which that is true.
func (x *Index) StreamPolicies() []string {
	type key struct{}
	return x.Lasting(key{}, func() any {
		seen := map[string]bool{}
		for _, set := range x.Snapshot.Policies {
			p := Policy{Traffic: set.Policy, Subsets: set.Subsets}
			for _, t := range p.Parts() {
				if OfStreams(t) {
					seen[set.Host] = true
				}
			}
		}
		return slices.Sorted(maps.Keys(seen))
	}).([]string)
}

// MessageHosts are the hosts of services with a port that carries a protocol of messages, or Redis.
func (x *Index) MessageHosts() []string {
	type key struct{}
	return x.Lasting(key{}, func() any {
		var hosts []string
		for _, s := range x.Snapshot.Services {
			if slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return p.Protocol.Messages() != "" || p.Protocol == model.Redis }) {
				hosts = append(hosts, s.Host)
			}
		}
		return hosts
	}).([]string)
}

// Declared is the protocol of messages that is declared under a name; nil: none is.
func (x *Index) Declared(name string) *model.AppProtocol {
	type key struct{}
	return x.Lasting(key{}, func() any {
		out := map[string]*model.AppProtocol{}
		for _, p := range x.Snapshot.Protocols {
			if out[p.Protocol] == nil {
				out[p.Protocol] = p
			}
		}
		return out
	}).(map[string]*model.AppProtocol)[name]
}

// Limits are those of the requests of a host's service; nil: there are none.
func (x *Index) Limits(host string) *model.RouteSet {
	type key struct{}
	return x.Lasting(key{}, func() any {
		out := map[string]*model.RouteSet{}
		for _, set := range x.Snapshot.Routes {
			for _, h := range set.Hosts {
				if set.Limits != nil && out[h] == nil {
					out[h] = set
				}
			}
		}
		return out
	}).(map[string]*model.RouteSet)[host]
}

// Covers tells whether a host, which may be "*" or begin with "*.", is or covers another.
func Covers(pattern, host string) bool { return hostMatches(pattern, host) }
