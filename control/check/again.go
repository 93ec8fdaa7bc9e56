package check

import (
	"maps"
	"reflect"
	"slices"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/patch"
)

// Checker checks snapshots one after another. Where only instances have come and
// gone, in a way that no check asks for, the Findings are those of before, and the
// cost follows the change. It is used by one goroutine.
type Checker struct {
	last     *model.Snapshot
	patches  *patch.Compiler // made when first needed
	findings []model.Finding
	named    map[model.Key]bool // objects of the findings
	refused  map[model.Key]bool
}

// Check returns what is wrong, as the function Check does.
func (c *Checker) Check(s *model.Snapshot) []model.Finding {
	before := c.refused
	c.refused = refused(s)
	if c.last == nil || !maps.Equal(before, c.refused) || !c.unaffected(c.last, s) {
		if c.patches == nil {
			c.patches = patch.NewCompiler()
		}
		c.patches.Keep(s.EnvoyFilters)
		c.findings = check(s, c.patches)
		c.named = map[model.Key]bool{}
		for _, f := range c.findings {
			c.named[f.Object] = true
		}
	}
	c.last = s
	return c.findings
}

// unaffected tells whether nothing that a check looks at is different.
func (c *Checker) unaffected(a, b *model.Snapshot) bool {
	return a.Mesh == b.Mesh && same(a.Routes, b.Routes) && same(a.Policies, b.Policies) && same(a.Gateways, b.Gateways) &&
		same(a.Sidecars, b.Sidecars) && same(a.PeerAuths, b.PeerAuths) && same(a.Authz, b.Authz) && same(a.Secrets, b.Secrets) &&
		same(a.RequestAuths, b.RequestAuths) && same(a.Telemetry, b.Telemetry) &&
		same(a.EnvoyFilters, b.EnvoyFilters) && same(a.Quarantines, b.Quarantines) && same(a.ProxyConfigs, b.ProxyConfigs) && same(a.Groups, b.Groups) && same(a.Fences, b.Fences) && same(a.Boots, b.Boots) && same(a.Modules, b.Modules) &&
		same(a.Redis, b.Redis) && same(a.RedisDestinations, b.RedisDestinations) &&
		same(a.Protocols, b.Protocols) && same(a.Registries, b.Registries) && same(a.RegistrySources, b.RegistrySources) && same(a.Transcodings, b.Transcodings) && same(a.Descriptors, b.Descriptors) && same(a.Limiters, b.Limiters) && same(a.Limits, b.Limits) &&
		sameCluster(&a.Cluster, &b.Cluster) && same(a.Namespaces, b.Namespaces) && same(a.Accounts, b.Accounts) && same(a.Processes, b.Processes) &&
		alike(a.Slices, b.Slices, c.sameSlice) && alike(a.Services, b.Services, c.sameService) && alike(a.Workloads, b.Workloads, c.sameWorkload)
}

func sameCluster(a, b *model.Cluster) bool {
	return same(a.Pods, b.Pods) && same(a.Nodes, b.Nodes) && same(a.Webhooks, b.Webhooks) && same(a.CRDs, b.CRDs) && same(a.Injectors, b.Injectors)
}

func same[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// alike tells whether two lists are of pairs that the function takes for the same.
func alike[T comparable](a, b []T, pair func(a, b T) bool) bool {
	return slices.EqualFunc(a, b, func(x, y T) bool { return x == y || pair(x, y) })
}

// sameService: of endpoints only their labels are asked for. Lines say where a
// finding about the service stands, if there is one.
func (c *Checker) sameService(a, b *model.Service) bool {
	if c.named[a.Key] || !covers(a.Inline, b.Inline) || !covers(b.Inline, a.Inline) {
		return false
	}
	x, y := *a, *b
	for _, s := range []*model.Service{&x, &y} {
		s.Inline, s.Hash, s.Lines = nil, 0, model.Lines{}
	}
	return reflect.DeepEqual(x, y)
}

// sameSlice: which endpoints there are nobody asks.
func (c *Checker) sameSlice(a, b *model.EndpointSlice) bool {
	return !c.named[a.Key] && a.Key == b.Key && a.Service == b.Service && a.Mirrored == b.Mirrored && slices.Equal(a.Ports, b.Ports)
}

// covers tells whether each endpoint has one with the same labels in the other list.
func covers(list, other []model.Endpoint) bool {
	for i, e := range list {
		if i < len(other) && maps.Equal(e.Labels, other[i].Labels) {
			continue
		}
		if !slices.ContainsFunc(other, func(o model.Endpoint) bool { return maps.Equal(e.Labels, o.Labels) }) {
			return false
		}
	}
	return true
}

// sameWorkload: where a workload is reached, and whether it is ready, nobody asks.
func (c *Checker) sameWorkload(a, b *model.Workload) bool {
	if c.named[a.Key] {
		return false
	}
	x, y := *a, *b
	for _, w := range []*model.Workload{&x, &y} {
		w.Ready, w.Weight, w.Addresses, w.Hash, w.Lines = false, 0, nil, 0, model.Lines{}
	}
	return reflect.DeepEqual(x, y)
}
