package translate

import (
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/patch"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/cluster"
)

// Cache remembers translations beyond one proxy and one snapshot: what was made of
// a service, as long as all that it was made of is the same object, and resources,
// as long as anybody holds them. It may be used by any goroutine.
type Cache struct {
	builds atomic.Uint64

	mu    sync.Mutex
	parts map[partKey]*known
	// patches are the EnvoyFilters that were read.
	patches *patch.Compiler

	poolMu sync.Mutex
	pool   map[poolKey]weak.Pointer[resource.Resource]
	// patched are, of resources in the pool, the patches that have changed them.
	patched map[poolKey][]model.PatchRef
}

// known is a part, what it was made of, and when it was asked for last.
type known struct {
	inputs inputs
	make   func() *part
	used   uint64 // version of the snapshot
}

// inputs are all objects that the clusters and endpoints of a service depend on,
// beside what Class says of the proxy. Objects never change, so that the same are
// as good as equal ones.
type inputs struct {
	service   *model.Service
	mesh      *model.Mesh
	policies  []*model.TrafficPolicySet
	workloads []*model.Workload
	// Of the whole mesh, as far as the part looks there.
	peerAuths []*model.PeerAuth
	secrets   []*model.Secret
}

func inputsOf(v *scope.View, s *model.Service) inputs {
	in := inputs{service: s, mesh: v.Index.Snapshot.Mesh, policies: v.Policy(s).Sets}
	in.workloads = v.Index.Counted(s)
	if len(s.Selector) > 0 || len(in.workloads) > 0 || len(s.Joined) > 0 {
		in.peerAuths = v.Index.Snapshot.PeerAuths
	}
	if len(in.policies) > 0 {
		in.secrets = v.Index.Snapshot.Secrets
	}
	return in
}

func (a *inputs) equal(b *inputs) bool {
	return a.service == b.service && a.mesh == b.mesh && slices.Equal(a.policies, b.policies) && slices.Equal(a.workloads, b.workloads) &&
		slices.Equal(a.peerAuths, b.peerAuths) && slices.Equal(a.secrets, b.secrets)
}

// partKey is who gets the same part: proxies of one class, with the same patches.
type partKey struct {
	class   cluster.Class
	patches string
}

type poolKey struct{ url, name, version string }

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{parts: map[partKey]*known{}, patches: patch.NewCompiler(), pool: map[poolKey]weak.Pointer[resource.Resource]{}, patched: map[poolKey][]model.PatchRef{}}
}

// Builds is how many times the clusters and endpoints of a service were made.
func (c *Cache) Builds() uint64 { return c.builds.Load() }

// outbound makes the clusters and endpoints of a service: once for all proxies
// that get the same, since these are most of what a mesh sends.
func (c *Cache) outbound(v *scope.View, s *model.Service) *part {
	class, ok := cluster.NewBuilder(v, nil).Class(s)
	if !ok {
		return c.makePart(v, s)
	}
	key := partKey{class, c.patches.Set(v.Patches).Key(model.ToCluster)}
	in := inputsOf(v, s)
	version := v.Index.Snapshot.Version
	c.mu.Lock()
	have := c.parts[key]
	if have == nil || !have.inputs.equal(&in) {
		have = &known{inputs: in, make: sync.OnceValue(func() *part { return c.makePart(v, s) })}
		c.parts[key] = have
	}
	have.used = max(have.used, version)
	c.mu.Unlock()
	// Outside of the lock: others who want the same wait here, others do not.
	return have.make()
}

// Sweep forgets the parts that nobody has asked for since a snapshot, and EnvoyFilters
// that it does not have.
func (c *Cache) Sweep(s *model.Snapshot) {
	c.patches.Keep(s.EnvoyFilters)
	version := s.Version
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, k := range c.parts {
		if k.used < version {
			delete(c.parts, key)
		}
	}
}

// pack marshals a message into a resource, or finds the one that has the same
// content. Marshalling is deterministic within one binary, which is all that
// versions need: they are compared by the control plane that made them, and a new
// binary only sends once more.
func (c *Cache) pack(typeURL, name string, m proto.Message) *resource.Resource {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: translate: " + name + ": " + err.Error())
	}
	key := poolKey{typeURL, name, strconv.FormatUint(xxhash.Sum64(raw), 16)}
	c.poolMu.Lock()
	defer c.poolMu.Unlock()
	if r := c.pool[key].Value(); r != nil {
		return r
	}
	r := resource.New(typeURL, name, key.version, raw)
	c.pool[key] = weak.Make(r)
	runtime.AddCleanup(r, c.forget, key)
	return r
}

// forget drops a resource that nobody holds, unless there is one like it by now.
func (c *Cache) forget(key poolKey) {
	c.poolMu.Lock()
	defer c.poolMu.Unlock()
	if c.pool[key].Value() == nil {
		delete(c.pool, key)
		delete(c.patched, key)
	}
}

// Patches are the patches of EnvoyFilters that have changed these resources, by name.
func (c *Cache) Patches(url string, list []*resource.Resource) map[string][]model.PatchRef {
	c.poolMu.Lock()
	defer c.poolMu.Unlock()
	out := map[string][]model.PatchRef{}
	for _, r := range list {
		if by := c.patched[poolKey{url, r.Name, r.Version}]; by != nil {
			out[r.Name] = by
		}
	}
	return out
}

// note keeps the patches that have changed a resource.
func (c *Cache) note(r *resource.Resource, by []model.PatchRef) *resource.Resource {
	if len(by) > 0 {
		c.poolMu.Lock()
		c.patched[poolKey{r.Body.TypeUrl, r.Name, r.Version}] = by
		c.poolMu.Unlock()
	}
	return r
}

// part is what one service contributes to a proxy.
type part struct {
	clusters, endpoints []*resource.Resource
	secrets             []string
	findings            []model.Finding

	mu     sync.Mutex
	stocks map[string]*stock // by cluster, of those that proxies on demand asked for
}
