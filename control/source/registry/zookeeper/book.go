package zookeeper

import (
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/weftmesh/weft/control/source/registry"
	"github.com/weftmesh/weft/control/source/registry/dubbo"
)

// known is what is known of an interface.
type known struct {
	providers map[registry.Dubbo][]registry.Instance
	apps      []string
	told      []registry.Dubbo // which services were told of
	overrides []dubbo.Override
}

// book puts together what the nodes say. All of its functions may be called by many goroutines.
type book struct {
	to   registry.Sink
	walk *walk
	root string

	mu         sync.Mutex
	interfaces map[string]*known
	apps       map[string]map[string]dubbo.App // by application and node
	served     map[string][]dubbo.Served       // by application and revision; nil: not known
	rules      map[string][]dubbo.Override     // of the configuration center, by key
	whole      bool
}

func newBook(to registry.Sink, w *walk, root string) *book {
	return &book{
		to: to, walk: w, root: root, interfaces: map[string]*known{}, apps: map[string]map[string]dubbo.App{}, served: map[string][]dubbo.Served{}, rules: map[string][]dubbo.Override{},
	}
}

func (b *book) at(name string) *known {
	k := b.interfaces[name]
	if k == nil {
		k = &known{}
		b.interfaces[name] = k
	}
	return k
}

func (b *book) providers(name string, nodes []string) {
	list := map[registry.Dubbo][]registry.Instance{}
	for _, n := range nodes {
		if id, in, err := dubbo.Provider(n); err == nil {
			list[id] = append(list[id], in)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at(name).providers = list
	b.tell(name)
}

// configured notes the configurators below an interface.
func (b *book) configured(name string, nodes []string) {
	var list []dubbo.Override
	slices.Sort(nodes)
	for _, n := range nodes {
		if o, ok := dubbo.Configurator(n); ok {
			list = append(list, o)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at(name).overrides = list
	b.tell(name)
}

// ruled notes a rule of the configuration center: of a service, or of an application, which may be about every service.
func (b *book) ruled(key string, list []dubbo.Override) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules[key] = list
	for name := range b.interfaces {
		b.tell(name)
	}
}

// overrides are those that may be about an interface: of applications, of services, and below it.
func (b *book) overrides(k *known) []dubbo.Override {
	var apps, services []dubbo.Override
	for _, key := range slices.Sorted(maps.Keys(b.rules)) {
		for _, o := range b.rules[key] {
			if o.Application != "" {
				apps = append(apps, o)
			} else {
				services = append(services, o)
			}
		}
	}
	return slices.Concat(apps, services, k.overrides)
}

func (b *book) mapped(name string, apps []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at(name).apps = apps
	b.tell(name)
}

// instance notes an instance of an application, or its end, and reads what its revision serves.
func (b *book) instance(app, id string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a, err := dubbo.Application(data)
	if data == nil || err != nil {
		delete(b.apps[app], id)
		b.tellOf(app)
		return
	}
	if b.apps[app] == nil {
		b.apps[app] = map[string]dubbo.App{}
	}
	b.apps[app][id] = a
	key := app + "/" + a.Revision
	if _, asked := b.served[key]; !asked && a.Revision != "" {
		b.served[key] = nil
		b.walk.data(b.walk.ctx, path.Join(b.root, "metadata", app, a.Revision), func(data []byte) { b.metadata(app, key, data) })
	}
	b.tellOf(app)
}

func (b *book) metadata(app, key string, data []byte) {
	if data == nil {
		return
	}
	served, err := dubbo.Metadata(data)
	if err != nil {
		return // the interface's name is known all the same
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.served[key] = served
	b.tellOf(app)
}

func (b *book) forget(app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.apps, app)
	b.tellOf(app)
}

// tellOf tells of all interfaces of an application. Until all is read there is nothing to tell of applications.
func (b *book) tellOf(app string) {
	for name, k := range b.interfaces {
		if slices.Contains(k.apps, app) {
			b.tell(name)
		}
	}
}

// complete tells of everything for the first time.
func (b *book) complete() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = true
	var names []string
	for name, k := range b.interfaces {
		b.tell(name)
		for _, id := range k.told {
			names = append(names, id.String())
		}
	}
	b.to.Complete(names)
}

// tell tells of the services of an interface: one for each group and version.
func (b *book) tell(name string) {
	if !b.whole {
		return
	}
	k := b.interfaces[name]
	list := map[registry.Dubbo][]registry.Instance{}
	for id, providers := range k.providers {
		list[id] = slices.Clone(providers)
	}
	for _, app := range k.apps {
		for _, id := range slices.Sorted(maps.Keys(b.apps[app])) {
			a := b.apps[app][id]
			for id, more := range a.Instances(name, b.served[app+"/"+a.Revision]) {
				for _, in := range more {
					if !has(k.providers, in) {
						list[id] = append(list[id], in)
					}
				}
			}
		}
	}
	for _, id := range k.told {
		if list[id] == nil {
			list[id] = []registry.Instance{}
		}
	}
	k.told = slices.Collect(maps.Keys(list))
	overrides := b.overrides(k)
	for id, instances := range list {
		for i := range instances {
			instances[i] = dubbo.Apply(overrides, id, instances[i])
		}
		b.to.Service(registry.Service{Name: id.String(), Dubbo: &id, Instances: instances})
	}
}

// has tells whether an instance is among those that registered by interface, of any group and version: Dubbo 3 does both by default.
func has(providers map[registry.Dubbo][]registry.Instance, in registry.Instance) bool {
	for _, list := range providers {
		if slices.ContainsFunc(list, func(x registry.Instance) bool { return x.Address == in.Address && x.Port == in.Port }) {
			return true
		}
	}
	return false
}
