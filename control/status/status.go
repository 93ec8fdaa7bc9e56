// Package status writes into a Kubernetes cluster what has become of its objects: conditions
// and Findings, and what objects of the Gateway API have as their status.
//
// What is written is made elsewhere (control/console). A status is written when it is
// different from the one that the cluster has; the times of conditions that stay are kept.
// Of what several controllers write (the parents of a route) only our own entries change.
// Many changes at once are written one after the other, at a bounded rate, and an object that
// keeps changing at most every few seconds.
//
// It elects nobody: who runs it says that only one replica does.
package status

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubejson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// manager is who the fields that are written belong to.
const manager = "weft-control"

// Rates of writing.
const (
	perSecond = 20
	burst     = 100
	// settle is how long is waited for more changes after one, and how often all is looked at
	// at most.
	settle = time.Second
	// again is how often all is looked at though nothing has changed, for what others have
	// undone and what could not be written.
	again = time.Minute
	// retryAfter is after how long what could not be written is tried again.
	retryAfter = 5 * time.Second
)

// Report is the status of an object.
type Report struct {
	Object model.Key
	// Generation is that of the object that the status is about; 0: the newest.
	Generation int64
	// Status is written as JSON.
	Status any
}

// Kind is where objects of a model's kind are in the cluster.
type Kind struct {
	schema.GroupKind
	// Versions are those that the writer knows, the preferred one first.
	Versions []string
}

// Kinds are those of a decoder whose objects get a status: those with definitions of their own. A
// kind of models may be in several groups, of which each cluster has one as a rule.
func Kinds(dec *document.Decoder) map[model.Kind][]Kind {
	out := map[model.Kind][]Kind{}
	for _, f := range dec.FrontEnds() {
		if !strings.Contains(f.Group, ".") || strings.HasSuffix(f.Group, ".k8s.io") && !strings.HasPrefix(f.Group, "gateway.") {
			continue
		}
		name := f.As
		if name == "" {
			name = model.Kind(f.Kind)
		}
		out[name] = append(out[name], Kind{schema.GroupKind{Group: f.Group, Kind: f.Kind}, f.Versions})
	}
	for _, list := range out {
		slices.SortFunc(list, func(a, b Kind) int { return cmp.Compare(a.String(), b.String()) })
	}
	return out
}

// Options of a Writer.
type Options struct {
	// Reports are those of all objects of the cluster that have one.
	Reports func() []Report
	// Changed says when they may be different: it calls with a channel that gets something
	// then, and a function that ends it.
	Changed func() (<-chan struct{}, func())
	// Kinds are the kinds by the names that models have.
	Kinds map[model.Kind][]Kind
	Log   *slog.Logger
}

// Writer writes statuses. Make one with New.
type Writer struct {
	Options
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
	limit  *rate.Limiter
	// written are the hashes of what was written last, of this run.
	written map[model.Key]uint64
	failed  map[model.Key]bool
}

// New makes a writer of the cluster that a configuration leads to.
func New(config *rest.Config, o Options) (*Writer, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	o.Log = o.Log.With("component", "status")
	return &Writer{
		Options: o, client: client, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d)),
		limit: rate.NewLimiter(perSecond, burst),
	}, nil
}

// Run writes until ctx ends. It may be run again after that.
func (w *Writer) Run(ctx context.Context) error {
	w.written, w.failed = map[model.Key]uint64{}, map[model.Key]bool{}
	changed, stop := w.Changed()
	defer stop()
	regularly := time.NewTicker(again)
	defer regularly.Stop()
	retry := time.NewTicker(retryAfter)
	defer retry.Stop()
	for {
		if err := w.round(ctx); err != nil {
			return err
		}
		var failed <-chan time.Time
		if len(w.failed) > 0 {
			failed = retry.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-failed:
		case <-regularly.C:
			clear(w.written) // what others have undone is found
			w.mapper.Reset()
		}
		quiet := time.NewTimer(settle)
		select {
		case <-ctx.Done():
			quiet.Stop()
			return ctx.Err()
		case <-quiet.C:
		}
	}
}

// round writes what is different.
func (w *Writer) round(ctx context.Context) error {
	there := map[model.Key]bool{}
	for _, r := range w.Reports() {
		there[r.Object] = true
		raw, err := json.Marshal(r.Status)
		if err != nil {
			return fmt.Errorf("BUG: status of %s: %w", r.Object.Title(), err)
		}
		sum := xxhash.Sum64(raw) ^ uint64(r.Generation) //nolint:gosec // any bits will do
		if w.written[r.Object] == sum && !w.failed[r.Object] {
			continue
		}
		switch err := w.write(ctx, r, raw); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil || apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
			w.written[r.Object] = sum
			delete(w.failed, r.Object)
		default:
			if !w.failed[r.Object] && !apierrors.IsConflict(err) { // somebody else was faster
				w.Log.Warn("a status cannot be written", "object", r.Object.Title(), "error", err)
			}
			w.failed[r.Object] = true
		}
	}
	for k := range w.written {
		if !there[k] {
			delete(w.written, k)
			delete(w.failed, k)
		}
	}
	return nil
}

// write writes one status where the cluster has another.
func (w *Writer) write(ctx context.Context, r Report, raw []byte) error {
	client, have, err := w.find(ctx, r.Object)
	if err != nil {
		return err
	}
	if r.Generation != 0 && have.GetGeneration() != r.Generation {
		return nil // a newer version is on its way, and a status of it will follow
	}
	status := map[string]any{}
	if err := kubejson.Unmarshal(raw, &status); err != nil { // with numbers as objects have them
		return fmt.Errorf("BUG: %w", err)
	}
	before, _, _ := unstructured.NestedMap(have.Object, "status")
	join(before, status, have.GetGeneration())
	if same(before, status) {
		return nil
	}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": have.GetAPIVersion(), "kind": have.GetKind(), "status": status}}
	u.SetName(have.GetName())
	u.SetNamespace(have.GetNamespace())
	// Entries of others are in it: it must not be written over what they wrote meanwhile.
	u.SetResourceVersion(have.GetResourceVersion())
	_, err = client.ApplyStatus(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: manager, Force: true})
	return err
}

// find finds an object, in the first of its kind's groups that has it.
func (w *Writer) find(ctx context.Context, k model.Key) (client dynamic.ResourceInterface, have *unstructured.Unstructured, err error) {
	err = apierrors.NewNotFound(schema.GroupResource{Resource: string(k.Kind)}, k.Name)
	for _, kind := range w.Kinds[k.Kind] {
		if client, err = w.resource(kind, k.Namespace); meta.IsNoMatchError(err) {
			continue
		} else if err != nil {
			return nil, nil, err
		}
		if err := w.limit.Wait(ctx); err != nil {
			return nil, nil, err
		}
		if have, err = client.Get(ctx, k.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return client, have, err
		}
	}
	return nil, nil, err
}

// resource is where objects of a kind are.
func (w *Writer) resource(k Kind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := w.mapper.RESTMapping(k.GroupKind, k.Versions...)
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return w.client.Resource(m.Resource).Namespace(namespace), nil
	}
	return w.client.Resource(m.Resource), nil
}
