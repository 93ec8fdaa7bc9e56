// Package objects reads and writes objects of a Kubernetes cluster of which only apiVersion
// and kind are known: it finds their resources, and applies them as a manager of fields.
//
// A kind that the server has just been told of is found: what is known of the server is asked
// for anew then. It keeps no objects, and retries nothing.
package objects

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// Client is of one cluster. It is safe for concurrent use.
type Client struct {
	// Config is how the server is reached, Dynamic and Discovery are clients of it.
	Config    *rest.Config
	Dynamic   dynamic.Interface
	Discovery discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
}

// New makes a client. Nothing is asked before it is used.
func New(config *rest.Config) (*Client, error) {
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of Kubernetes: %w", err)
	}
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of Kubernetes: %w", err)
	}
	cached := memory.NewMemCacheClient(d)
	return &Client{Config: config, Dynamic: c, Discovery: cached, mapper: restmapper.NewDeferredDiscoveryRESTMapper(cached)}, nil
}

// Resource is where objects of a kind are, in a namespace where the kind has such.
func (c *Client) Resource(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		m, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(m.Resource).Namespace(namespace), nil
	}
	return c.Dynamic.Resource(m.Resource), nil
}

// Of is where an object is.
func (c *Client) Of(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	return c.Resource(u.GroupVersionKind(), u.GetNamespace())
}

// Get returns the object of the same kind and name that the cluster has.
func (c *Client) Get(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	r, err := c.Of(u)
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, u.GetName(), metav1.GetOptions{})
}

// Apply applies an object and returns what it is then; with DryRun in the options, what it
// would be.
func (c *Client) Apply(ctx context.Context, u *unstructured.Unstructured, o metav1.ApplyOptions) (*unstructured.Unstructured, error) {
	r, err := c.Of(u)
	if err != nil {
		return nil, err
	}
	return r.Apply(ctx, u.GetName(), u, o)
}

// Delete removes an object; what belongs to it follows.
func (c *Client) Delete(ctx context.Context, u *unstructured.Unstructured) error {
	r, err := c.Of(u)
	if err != nil {
		return err
	}
	policy := metav1.DeletePropagationBackground
	return r.Delete(ctx, u.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy})
}
