// Package offline makes a whole mesh of what is written in files: the snapshot, its
// index, the proxies that there would be, and what each of them would get. It is for
// tools that tell what configuration means before any of it runs.
//
// It guarantees that nothing is done differently from a control plane: files are
// decoded by source/file, merged, attached and checked by snapshot, narrowed by
// scope, and made into resources by translate. What a control plane learns from
// what runs is made up, the same each time: every Process has its replicas, ready,
// at addresses counted up from 10.244.0.2, and there is a gateway for each selector
// that nobody answers to, as `weft up` would start it. A mesh may also be made of
// what a control plane says that it has (Parts), instead of files.
//
// It opens no sockets, starts no goroutines, fetches no keys of tokens and writes
// nothing. A Mesh is read-only once made; as a View is one goroutine's at a time, so
// is each call.
package offline

import (
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/control/attach"
	"github.com/weftmesh/weft/control/check"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/control/translate/authn"
	"github.com/weftmesh/weft/wire"
)

// Options say what to read and what to assume.
type Options struct {
	// Paths are files and folders of YAML; file.Stdin is read from Stdin.
	Paths []string
	Stdin io.Reader
	// Analysis: what runs in a Kubernetes cluster is read too, and counts as what runs.
	Analysis bool
	Settings
}

// Settings are what a control plane is told by its flags.
type Settings struct {
	// Engine is that of workloads that name none; "": scope.EngineGo.
	Engine string
	// Mode is wire.ModeEager ("" too) or wire.ModeOnDemand.
	Mode string
	// Families are the IP families of allocated addresses; nil: 4.
	Families []int
	// CaptureRange is wire.CaptureAll ("" too) or wire.CaptureVIP, VIPRange where
	// services' addresses are, as wire.ParseVIPRange reads it.
	CaptureRange, VIPRange string
}

// Parts are what a mesh is made of.
type Parts struct {
	Settings
	// Deltas are all that the sources say, the winning source first, each Full.
	Deltas []model.Delta
	// Addresses are those that services have been given already.
	Addresses map[model.Key][]netip.Prefix
	// Proxies are the ones that are known to be there. Workloads have one each
	// besides, unless it is among these.
	Proxies []Proxy
}

// Mesh is a mesh at one moment.
type Mesh struct {
	Snapshot *model.Snapshot
	Index    *scope.Index
	// Proxies are sorted by namespace and name.
	Proxies []Proxy

	parts Parts
	cache *translate.Cache
	// imagined: what runs is made up of what files say.
	imagined bool
}

// Load makes a mesh of files. The Findings of its snapshot say what is wrong with
// them; an error means that there is nothing to read.
func Load(o Options) (*Mesh, error) {
	read := file.Read
	if o.Analysis {
		read = file.ReadForAnalysis
	}
	d, err := read(o.Paths, o.Stdin)
	if err != nil {
		return nil, err
	}
	return Of(d, o.Settings), nil
}

// Of makes a mesh of what files say.
func Of(files model.Delta, s Settings) *Mesh {
	m := New(Parts{Settings: s, Deltas: imagine(files, s, nil)})
	m.imagined = true
	return m
}

// New makes a mesh of its parts.
func New(p Parts) *Mesh { return build(p, translate.NewCache()) }

func build(p Parts, cache *translate.Cache) *Mesh {
	m := &Mesh{Snapshot: merge(p.Settings, p.Addresses, p.Deltas), parts: p, cache: cache}
	m.Index = scope.NewIndex(m.Snapshot)
	m.Proxies = m.proxies()
	return m
}

func merge(s Settings, addresses map[model.Key][]netip.Prefix, deltas []model.Delta) *model.Snapshot {
	var names []string
	for _, d := range deltas {
		names = append(names, d.Source)
	}
	return snapshot.Make(snapshot.Options{Sources: names, Attach: attach.Attach, Check: check.Check, Addresses: s.addresses()}, addresses, deltas...)
}

// Translate makes what a proxy gets, by type, and what translation finds fault with.
func (m *Mesh) Translate(p Proxy) (*translate.Resources, []model.Finding) {
	var out *translate.Resources
	var findings []model.Finding
	m.Each([]Proxy{p}, func(_ Proxy, r *translate.Resources, f []model.Finding) { out, findings = r, f })
	return out, findings
}

// Patches are the patches of EnvoyFilters that have changed a resource that a proxy
// gets.
func (m *Mesh) Patches(url string, r *resource.Resource) []model.PatchRef {
	return m.cache.Patches(url, []*resource.Resource{r})[r.Name]
}

// Leads names the clusters that a name leads to, of what a proxy on demand may ask for:
// as the mesh calls them, where the proxy gets them by another name.
func (m *Mesh) Leads(p Proxy, url, name string) []string {
	_, who := m.Index.Group(p.Proxy)
	return m.cache.Demand(scope.Build(m.Index, who), nil).Leads(url, name)
}

// Each makes what each of some proxies gets, in their order; what a scope.Group
// shares is made once.
func (m *Mesh) Each(proxies []Proxy, yield func(Proxy, *translate.Resources, []model.Finding)) {
	groups := map[scope.Group]*translate.Shared{}
	for _, p := range proxies {
		key, who := m.Index.Group(p.Proxy)
		v := scope.Build(m.Index, who)
		if groups[key] == nil {
			groups[key] = m.cache.Shared(v, nil)
		}
		r, f := m.cache.Translate(v, groups[key], translate.Ask{Names: p.Asked})
		p.Proxy = who
		yield(p, r, f)
	}
}

// Findings are those of the snapshot and of what all proxies would get, each once.
func (m *Mesh) Findings() []model.Finding {
	out := slices.Clone(m.Snapshot.Findings)
	seen := map[model.Finding]bool{}
	for _, f := range out {
		seen[f] = true
	}
	m.Each(m.Proxies, func(_ Proxy, _ *translate.Resources, list []model.Finding) {
		for _, f := range list {
			if !seen[f] && f.Code != authn.CodeKeys { // that no keys are there is our doing
				seen[f] = true
				out = append(out, f)
			}
		}
	})
	return out
}

func (s Settings) families() []int {
	if len(s.Families) == 0 {
		return []int{4}
	}
	return s.Families
}

// addresses are the settings that say which addresses services get.
func (s Settings) addresses() snapshot.Addresses {
	r, err := wire.ParseVIPRange(s.VIPRange)
	if err != nil {
		r = wire.DefaultVIPRange() // Check has said so
	}
	return snapshot.Addresses{Families: s.families(), Range: r, Captured: s.CaptureRange == wire.CaptureVIP}
}

// Check tells whether the settings are ones that there are.
func (s Settings) Check() error {
	if s.Engine != "" && s.Engine != scope.EngineGo && s.Engine != scope.EngineEnvoy {
		return fmt.Errorf("engine %q: want %s or %s", s.Engine, scope.EngineGo, scope.EngineEnvoy)
	}
	if s.Mode != "" && s.Mode != wire.ModeEager && s.Mode != wire.ModeOnDemand {
		return fmt.Errorf("config mode %q: want %s or %s", s.Mode, wire.ModeEager, wire.ModeOnDemand)
	}
	if s.CaptureRange != "" && s.CaptureRange != wire.CaptureAll && s.CaptureRange != wire.CaptureVIP {
		return fmt.Errorf("capture range %q: want %s or %s", s.CaptureRange, wire.CaptureAll, wire.CaptureVIP)
	}
	if _, err := wire.ParseVIPRange(s.VIPRange); err != nil {
		return err
	}
	for _, f := range s.Families {
		if f != 4 && f != 6 {
			return fmt.Errorf("IP family %d: want 4 or 6", f)
		}
	}
	return nil
}
