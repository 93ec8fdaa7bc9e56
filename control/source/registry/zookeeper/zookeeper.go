// Package zookeeper follows the services that Dubbo registers in ZooKeeper: by interface (ROOT/INTERFACE/providers), and since
// Dubbo 3 by application (/services/APPLICATION, ROOT/mapping, and ROOT/metadata where the metadata center is ZooKeeper). Configurators about
// providers, below interfaces and in the configuration center (ROOT/config/dubbo), change what instances say of themselves.
//
// All is watched, nothing polled. A lost connection ends Follow: what was read may be old.
package zookeeper

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"slices"
	"strings"
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
	tls  *tls.Config // nil: plain text
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
	conf, err := registry.TLS(r)
	if err != nil {
		return nil, err
	}
	return &Client{spec: r, root: root, tls: conf, log: log}, nil
}

// quiet drops what the library would print: states come as events.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

// Follow implements registry.Client.
func (c *Client) Follow(ctx context.Context, to registry.Sink) error {
	conn, events, err := zk.Connect(c.spec.Addresses, session, zk.WithLogger(quiet{}), zk.WithLogInfo(false), zk.WithDialer(c.dial))
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
	if c.spec.Username != "" {
		if err := conn.AddAuth("digest", []byte(c.spec.Username+":"+string(c.spec.Password))); err != nil {
			return err
		}
	}
	w.wg.Go(func() { lost(ctx, events, fail) })
	b := newBook(to, w, c.root)
	w.whole = b.complete
	w.begin()
	if c.spec.Interfaces {
		c.byInterface(w, b)
	}
	if c.spec.Applications {
		c.byApplication(w, b)
	}
	c.rules(w, b)
	w.read()
	<-ctx.Done()
	return context.Cause(ctx)
}

// dial connects, by TLS where that is said.
func (c *Client) dial(network, address string, patience time.Duration) (net.Conn, error) {
	d := &net.Dialer{Timeout: patience}
	if c.tls == nil {
		return d.Dial(network, address)
	}
	return tls.DialWithDialer(d, network, address, c.tls)
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
		w.children(ctx, path.Join(c.root, name, "configurators"), func(nodes []string) { b.configured(name, nodes) })
	})
	w.children(w.ctx, c.root, func(names []string) {
		for _, gone := range interfaces.set(slices.DeleteFunc(names, func(n string) bool { return slices.Contains(own, n) })) {
			b.providers(gone, nil)
			b.configured(gone, nil)
		}
	})
}

// ruleEnd ends the names of nodes of the configuration center that have configurators.
const ruleEnd = ".configurators"

// rules follows the configurators of the configuration center, which Dubbo has in the same tree by default.
func (c *Client) rules(w *walk, b *book) {
	at := path.Join(c.root, "config", "dubbo")
	take := func(name string, data []byte) {
		key := strings.TrimSuffix(name, ruleEnd)
		list, err := dubbo.Rule(key, data)
		if err != nil {
			c.log.Warn("a rule of Dubbo's cannot be read: the one before stands", "error", err)
			return
		}
		b.ruled(key, list)
	}
	nodes := newBelow(w.ctx, func(ctx context.Context, name string) {
		w.data(ctx, path.Join(at, name), func(data []byte) { take(name, data) })
	})
	w.children(w.ctx, at, func(names []string) {
		for _, gone := range nodes.set(slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ruleEnd) })) {
			take(gone, nil)
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
