package apiserver

import (
	"context"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// name of an object of a kind.
type name struct{ namespace, name string }

// item is what an object has become; nil: it is gone.
type item struct {
	outcome
	location *location // of a node
}

// follower lists and watches one kind, and converts what it sees. It keeps no object:
// what is not taken yet waits.
type follower struct {
	is     resource
	source *Source
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	waiting map[name]*item
	whole   bool // what is waiting is all there is
	listed  bool
	gone    bool   // the kind is there no more
	denied  string // why it may not be read
	failed  string // why it cannot be read at the moment
}

func (s *Source) start(ctx context.Context, r resource) *follower {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{is: r, source: s, cancel: cancel, ended: make(chan struct{}), waiting: map[name]*item{}}
	client := s.client.Resource(r.GroupVersionResource)
	narrow := func(o *metav1.ListOptions) { o.FieldSelector = fields[r.String()] }
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			narrow(&o)
			l, err := client.List(ctx, o)
			f.report(ctx, err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			narrow(&o)
			w, err := client.Watch(ctx, o)
			f.report(ctx, err)
			return w, err
		},
	}
	quiet := logr.Discard() // report says it, once
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, s.client), &unstructured.Unstructured{}, f, cache.ReflectorOptions{Name: r.String(), TypeDescription: r.String(), Logger: &quiet})
	go func() {
		defer close(f.ended)
		reflector.RunWithContext(klog.NewContext(ctx, quiet))
	}()
	return f
}

// report remembers how the last call went.
func (f *follower) report(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	denied, failed := "", ""
	switch {
	case err == nil:
	case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
		denied = err.Error()
	case apierrors.IsResourceExpired(err) || apierrors.IsGone(err): // it is listed anew
	default:
		failed = err.Error()
	}
	f.mu.Lock()
	different := denied != f.denied || failed != f.failed
	f.denied, f.failed = denied, failed
	f.mu.Unlock()
	if different {
		if why := denied + failed; why != "" {
			f.source.log.Warn("a kind cannot be read", "resource", f.is.String(), "error", why)
		}
		f.source.notify()
	}
}

func (s *Source) notify() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// known tells whether the kind has been listed, or may not be.
func (f *follower) known() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listed || f.denied != "" || f.gone
}

// failure says why the kind cannot be read; empty: it can.
func (f *follower) failure() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.denied != "" {
		return f.denied
	}
	return f.failed
}

// news are the changes of a kind.
type news struct {
	changes map[name]*item
	whole   bool // they are all there is of the kind
	gone    bool // and there will be no more
}

// take takes what is waiting.
func (f *follower) take() news {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := news{f.waiting, f.whole, f.gone}
	f.waiting, f.whole = map[name]*item{}, false
	return n
}

// empty says that there is nothing of the kind any more. The follower has ended.
func (f *follower) empty() {
	f.mu.Lock()
	f.waiting, f.whole, f.gone, f.denied, f.failed = map[name]*item{}, true, true, "", ""
	f.mu.Unlock()
	f.source.notify()
}

func (f *follower) put(n name, it *item) {
	f.mu.Lock()
	f.waiting[n] = it
	f.mu.Unlock()
	f.changed()
}

func (f *follower) changed() {
	f.source.notify()
	if f.is == definitions {
		select {
		case f.source.kinds <- struct{}{}:
		default:
		}
	}
}

// Add implements cache.ReflectorStore.
func (f *follower) Add(o any) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("an object of type %T", o)
	}
	f.put(name{u.GetNamespace(), u.GetName()}, f.convert(u))
	return nil
}

// Update implements cache.ReflectorStore.
func (f *follower) Update(o any) error { return f.Add(o) }

// Delete implements cache.ReflectorStore.
func (f *follower) Delete(o any) error {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return fmt.Errorf("an object of type %T", o)
	}
	f.put(name{u.GetNamespace(), u.GetName()}, nil)
	return nil
}

// Replace implements cache.ReflectorStore.
func (f *follower) Replace(list []any, _ string) error {
	all := make(map[name]*item, len(list))
	for _, o := range list {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("an object of type %T", o)
		}
		all[name{u.GetNamespace(), u.GetName()}] = f.convert(u)
	}
	f.mu.Lock()
	f.waiting, f.whole, f.listed = all, true, true
	f.mu.Unlock()
	f.changed()
	return nil
}

// Resync implements cache.ReflectorStore.
func (*follower) Resync() error { return nil }
