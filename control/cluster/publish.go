package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
)

// What is watched, to be put right.
var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	mutating   = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"}
	validating = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"}
)

// task is something to be put right: the root certificate in a namespace, or a webhook's
// configuration.
type task struct {
	resource schema.GroupVersionResource
	name     string
}

// queue holds tasks; one that fails is tried again, more and more seldom.
type queue = workqueue.TypedRateLimitingInterface[task]

// publish writes the root certificate to where others read it.
func (c *Cluster) publish(ctx context.Context) error {
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[task]())
	g, ctx := errgroup.WithContext(ctx)
	for r, narrow := range map[schema.GroupVersionResource]metav1.ListOptions{
		namespaces: {}, configMaps: {LabelSelector: RootLabel},
		mutating:   {FieldSelector: "metadata.name=" + InjectWebhook},
		validating: {FieldSelector: "metadata.name=" + ValidateWebhook},
	} {
		g.Go(func() error { return c.watch(ctx, r, narrow, q) })
	}
	g.Go(func() error {
		<-ctx.Done()
		q.ShutDown()
		return ctx.Err()
	})
	g.Go(func() error {
		for {
			t, ended := q.Get()
			if ended {
				return nil
			}
			c.do(ctx, q, t)
		}
	})
	return g.Wait()
}

// do does a task.
func (c *Cluster) do(ctx context.Context, q queue, t task) {
	defer q.Done(t)
	var err error
	if t.resource == namespaces {
		err = c.publishTo(ctx, t.name)
	} else {
		err = c.authorize(ctx, t)
	}
	switch {
	case err == nil || apierrors.IsNotFound(err):
		q.Forget(t)
	case ctx.Err() == nil:
		c.log.Warn("the root certificate cannot be written", "resource", t.resource.Resource, "name", t.name, "error", err)
		q.AddRateLimited(t)
	}
}

// watch makes tasks of what is there and changes.
func (c *Cluster) watch(ctx context.Context, r schema.GroupVersionResource, narrow metav1.ListOptions, q queue) error {
	client := c.dynamic.Resource(r)
	limit := func(o *metav1.ListOptions) {
		o.LabelSelector, o.FieldSelector = narrow.LabelSelector, narrow.FieldSelector
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			limit(&o)
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			limit(&o)
			return client.Watch(ctx, o)
		},
	}
	changed := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if u, ok := o.(*unstructured.Unstructured); ok {
			q.Add(taskOf(r, u))
		}
	}
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.ToListWatcherWithWatchListSemantics(lw, c.dynamic), ObjectType: &unstructured.Unstructured{},
		Handler:   cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed},
		Transform: slim,
	})
	informer.RunWithContext(klog.NewContext(ctx, logr.Discard()))
	return ctx.Err()
}

// slim drops what nobody here reads: all but the name.
func slim(o any) (any, error) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return o, nil
	}
	out := &unstructured.Unstructured{Object: map[string]any{"apiVersion": u.GetAPIVersion(), "kind": u.GetKind()}}
	out.SetNamespace(u.GetNamespace())
	out.SetName(u.GetName())
	out.SetResourceVersion(u.GetResourceVersion())
	return out, nil
}

// taskOf is the task that an object stands for: a ConfigMap is its namespace's.
func taskOf(r schema.GroupVersionResource, u *unstructured.Unstructured) task {
	if r == configMaps {
		return task{namespaces, u.GetNamespace()}
	}
	return task{r, u.GetName()}
}

// publishTo writes the root certificate into a namespace.
func (c *Cluster) publishTo(ctx context.Context, namespace string) error {
	l := labels()
	l[RootLabel] = "true"
	m := applycore.ConfigMap(RootConfigMap, namespace).WithLabels(l).WithData(map[string]string{rootKey: string(c.root)})
	_, err := c.core.ConfigMaps(namespace).Apply(ctx, m, metav1.ApplyOptions{FieldManager: manager, Force: true})
	if apierrors.HasStatusCause(err, "NamespaceTerminating") {
		return nil
	}
	return err
}

// authorize writes the root certificate into a webhooks' configuration.
func (c *Cluster) authorize(ctx context.Context, t task) error {
	client := c.dynamic.Resource(t.resource)
	u, err := client.Get(ctx, t.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	patch, err := c.bundles(u)
	if err != nil || patch == nil {
		return err
	}
	_, err = client.Patch(ctx, t.name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: manager})
	return err
}

// bundles is the patch that makes the webhooks of a configuration trust the root; nil: they do.
func (c *Cluster) bundles(u *unstructured.Unstructured) ([]byte, error) {
	list, _, err := unstructured.NestedSlice(u.Object, "webhooks")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.GetName(), err)
	}
	type step struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	var patch []step
	for i, w := range list {
		m, _ := w.(map[string]any)
		name, _, _ := unstructured.NestedString(m, "name")
		have, _, _ := unstructured.NestedString(m, "clientConfig", "caBundle")
		raw, _ := base64.StdEncoding.DecodeString(have)
		if strings.HasSuffix(name, ".weft.dev") && !bytes.Equal(raw, c.root) {
			at := fmt.Sprintf("/webhooks/%d/", i)
			patch = append(patch, step{"test", at + "name", name}, step{"add", at + "clientConfig/caBundle", base64.StdEncoding.EncodeToString(c.root)})
		}
	}
	if patch == nil {
		return nil, nil
	}
	return json.Marshal(patch)
}
