// Package etcd follows services that are registered in etcd (v3): Dubbo's, go-micro's and kratos' conventions, and one of our own, each
// below its prefix.
//
// A prefix is read once and then watched from that revision on. A lost connection ends Follow.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	etcd "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/connectivity"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/registry"
)

const (
	patience = 10 * time.Second
	alive    = 10 * time.Second
)

// Client follows one cluster.
type Client struct {
	spec     *model.Registry
	prefixes map[string]format // by prefix
	tls      *tls.Config       // nil: plain text
}

// New is a registry.Maker.
func New(r *model.Registry, _ *slog.Logger) (registry.Client, error) {
	conf, err := registry.TLS(r)
	if err != nil {
		return nil, err
	}
	c := &Client{spec: r, prefixes: map[string]format{}, tls: conf}
	for _, name := range r.Formats {
		f, ok := formats[name]
		if !ok {
			return nil, fmt.Errorf("spec.formats: %q is not known", name)
		}
		prefix := f.prefix
		if r.Root != "" {
			prefix = r.Root
		}
		c.prefixes[strings.TrimSuffix(prefix, "/")+"/"] = f
	}
	return c, nil
}

// Follow implements registry.Client.
func (c *Client) Follow(ctx context.Context, to registry.Sink) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	client, err := etcd.New(etcd.Config{
		Endpoints: c.spec.Addresses, Username: c.spec.Username, Password: string(c.spec.Password), TLS: c.tls, Context: ctx, Logger: zap.NewNop(),
		DialTimeout: patience, DialKeepAliveTime: alive, DialKeepAliveTimeout: alive,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	b := &book{to: to, services: map[string]map[string]entry{}, owner: map[string]string{}}
	revision := int64(0)
	for _, prefix := range slices.Sorted(maps.Keys(c.prefixes)) {
		if revision, err = c.read(ctx, client, prefix, revision, b); err != nil {
			return err
		}
	}
	b.all()
	go c.lost(ctx, client, fail)
	news := make(chan etcd.WatchResponse)
	for prefix := range c.prefixes {
		go func() {
			for r := range client.Watch(etcd.WithRequireLeader(ctx), prefix, etcd.WithPrefix(), etcd.WithRev(revision+1)) {
				select {
				case news <- r:
				case <-ctx.Done():
				}
			}
			fail(errors.New("a watch has ended"))
		}()
	}
	for {
		select {
		case r := <-news:
			if err := r.Err(); err != nil {
				return err
			}
			b.take(r.Events, c.prefixes)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// read reads what is below a prefix, as it was at a revision (0: now, which is returned).
func (c *Client) read(ctx context.Context, client *etcd.Client, prefix string, at int64, b *book) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := client.Get(ctx, prefix, etcd.WithPrefix(), etcd.WithRev(at))
	if err != nil {
		return 0, err
	}
	for _, kv := range got.Kvs {
		b.put(string(kv.Key), kv.Value, c.prefixes)
	}
	if at == 0 {
		at = got.Header.Revision
	}
	return at, nil
}

// lost ends Follow when the connection fails: the library would go on in silence.
func (c *Client) lost(ctx context.Context, client *etcd.Client, fail context.CancelCauseFunc) {
	conn := client.ActiveConnection()
	for {
		state := conn.GetState()
		if state == connectivity.TransientFailure {
			fail(errors.New("the connection is lost"))
			return
		}
		if state == connectivity.Idle {
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// entry is what one key says.
type entry struct {
	service   registry.Service
	instances []registry.Instance
}

// book puts keys together to services. It is used by one goroutine.
type book struct {
	to       registry.Sink
	services map[string]map[string]entry // by name and key
	owner    map[string]string           // of each key
	dirty    map[string]bool
}

// split finds the format of a key.
func split(key string, prefixes map[string]format) (f format, rest string, ok bool) {
	for p, f := range prefixes {
		if rest, ok := strings.CutPrefix(key, p); ok {
			return f, rest, true
		}
	}
	return f, "", false
}

// put notes a key; one that cannot be read says nothing.
func (b *book) put(key string, value []byte, prefixes map[string]format) {
	f, rest, ok := split(key, prefixes)
	if !ok {
		return
	}
	s, list, err := f.read(rest, value)
	if err != nil {
		b.remove(key)
		return
	}
	if was, there := b.owner[key]; there && was != s.Name {
		b.remove(key)
	}
	if b.services[s.Name] == nil {
		b.services[s.Name] = map[string]entry{}
	}
	b.services[s.Name][key], b.owner[key] = entry{s, list}, s.Name
	b.touch(s.Name)
}

func (b *book) remove(key string) {
	if name, there := b.owner[key]; there {
		delete(b.services[name], key)
		delete(b.owner, key)
		b.touch(name)
	}
}

func (b *book) touch(name string) {
	if b.dirty == nil {
		b.dirty = map[string]bool{}
	}
	b.dirty[name] = true
}

// take takes in what was told, and tells of the services that it changes.
func (b *book) take(events []*etcd.Event, prefixes map[string]format) {
	for _, e := range events {
		if e.Type == mvccpb.Event_DELETE {
			b.remove(string(e.Kv.Key))
		} else {
			b.put(string(e.Kv.Key), e.Kv.Value, prefixes)
		}
	}
	b.tell()
}

func (b *book) tell() {
	for name := range b.dirty {
		s := registry.Service{Name: name}
		for _, key := range slices.Sorted(maps.Keys(b.services[name])) {
			e := b.services[name][key]
			s.Host, s.Dubbo = e.service.Host, e.service.Dubbo
			s.Instances = append(s.Instances, e.instances...)
		}
		if len(s.Instances) == 0 {
			delete(b.services, name)
		}
		b.to.Service(s)
	}
	b.dirty = nil
}

// all tells of everything for the first time.
func (b *book) all() {
	names := slices.Collect(maps.Keys(b.services))
	b.tell()
	b.to.Complete(names)
}
