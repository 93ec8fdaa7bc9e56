// Package zookeeper follows the services that Dubbo registers in ZooKeeper: by interface (ROOT/INTERFACE/providers), and since
// Dubbo 3 by application (/services/APPLICATION, ROOT/mapping, and ROOT/metadata where the metadata center is ZooKeeper).
//
// All is watched, nothing polled. A lost connection ends Follow: what was read may be old.
package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/registry"
	"github.com/weftmesh/weft/control/source/registry/dubbo"
)

const (
	usualRoot = "/dubbo"
	// applications is where Curator's service discovery, which Dubbo 3 uses, has instances.
	applications = "/services"
	session      = 10 * time.Second
)

// own are children of the root that are no interfaces.
var own = []string{"mapping", "metadata", "config"}

// Client follows one ensemble.
type Client struct {
	spec *model.Registry
	root string
	log  *slog.Logger
}

// New is a registry.Maker.
func New(r *model.Registry, log *slog.Logger) (registry.Client, error) {
	root := r.Root
	if root == "" {
		root = usualRoot
	}
	if root[0] != '/' || root != path.Clean(root) {
		return nil, fmt.Errorf("spec.root %q is not the path of a node", root)
	}
	return &Client{spec: r, root: root, log: log}, nil
}

// quiet drops what the library would print: states come as events.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// Follow implements registry.Client.
func (c *Client) Follow(ctx context.Context, to registry.Sink) error {
	conn, events, err := zk.Connect(c.spec.Addresses, session, zk.WithLogger(quiet{}), zk.WithLogInfo(false))
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	w := &walk{conn: conn, ctx: ctx, fail: fail}
	defer w.wg.Wait()
	defer conn.Close() // wakes those who wait for answers
	if err := connected(ctx, events); err != nil {
		return err
	}
	w.wg.Go(func() { lost(ctx, events, fail) })
	b := &book{to: to, interfaces: map[string]*known{}, apps: map[string]map[string]dubbo.App{}, served: map[string][]dubbo.Served{}, walk: w, root: c.root}
	w.whole = b.complete
	w.begin()
	if c.spec.Interfaces {
		c.byInterface(w, b)
	}
	if c.spec.Applications {
		c.byApplication(w, b)
	}
	w.read()
	<-ctx.Done()
	return context.Cause(ctx)
}

// connected waits for a session.
func connected(ctx context.Context, events <-chan zk.Event) error {
	wait, cancel := context.WithTimeout(ctx, session)
	defer cancel()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return errors.New("the connection was given up")
			}
			switch e.State {
			case zk.StateHasSession:
				return nil
			case zk.StateAuthFailed:
				return errors.New("authentication failed")
			}
		case <-wait.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("no session within %s", session)
		}
	}
}

// lost ends the walk when the session does.
func lost(ctx context.Context, events <-chan zk.Event, fail context.CancelCauseFunc) {
	for {
		select {
		case e, ok := <-events:
			if !ok || e.State == zk.StateDisconnected || e.State == zk.StateExpired {
				fail(errors.New("the connection is lost"))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// byInterface follows the providers of every interface.
func (c *Client) byInterface(w *walk, b *book) {
	interfaces := newBelow(w.ctx, func(ctx context.Context, name string) {
		w.children(ctx, path.Join(c.root, name, "providers"), func(nodes []string) { b.providers(name, nodes) })
	})
	w.children(w.ctx, c.root, func(names []string) {
		for _, gone := range interfaces.set(slices.DeleteFunc(names, func(n string) bool { return slices.Contains(own, n) })) {
			b.providers(gone, nil)
		}
	})
}

// byApplication follows the instances of every application, and which interfaces they have.
func (c *Client) byApplication(w *walk, b *book) {
	mapping := path.Join(c.root, "mapping")
	interfaces := newBelow(w.ctx, func(ctx context.Context, name string) {
		w.data(ctx, path.Join(mapping, name), func(data []byte) { b.mapped(name, dubbo.Mapping(data)) })
	})
	w.children(w.ctx, mapping, func(names []string) {
		for _, gone := range interfaces.set(names) {
			b.mapped(gone, nil)
		}
	})
	apps := newBelow(w.ctx, func(ctx context.Context, app string) {
		at := path.Join(applications, app)
		instances := newBelow(ctx, func(ctx context.Context, id string) {
			w.data(ctx, path.Join(at, id), func(data []byte) { b.instance(app, id, data) })
		})
		w.children(ctx, at, func(ids []string) {
			for _, gone := range instances.set(ids) {
				b.instance(app, gone, nil)
			}
		})
	})
	w.children(w.ctx, applications, func(names []string) {
		for _, gone := range apps.set(names) {
			b.forget(gone)
		}
	})
}

// known is what is known of an interface.
type known struct {
	providers map[registry.Dubbo][]registry.Instance
	apps      []string
	told      []registry.Dubbo // which services were told of
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
	whole      bool
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
	for id, instances := range list {
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
