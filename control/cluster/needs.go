package cluster

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Access is something that the control plane does in its cluster beside reading it.
type Access struct {
	Groups, Resources, Verbs []string
	// Names are the objects; nil: all of the kind.
	Names []string
	// URLs are paths that are no resources.
	URLs []string
	// Own: only in the control plane's namespace.
	Own bool
}

// Needs are what this package does.
func Needs() []Access {
	admission := []string{mutating.Group}
	return []Access{
		{Groups: []string{""}, Resources: []string{"namespaces", "configmaps"}, Verbs: []string{"list", "watch"}},
		{Groups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"create"}},
		{Groups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"patch"}, Names: []string{RootConfigMap}},
		{Groups: admission, Resources: []string{mutating.Resource, validating.Resource}, Verbs: []string{"list", "watch"}},
		{Groups: admission, Resources: []string{mutating.Resource}, Verbs: []string{"get", "patch"}, Names: []string{InjectWebhook}},
		{Groups: admission, Resources: []string{validating.Resource}, Verbs: []string{"get", "patch"}, Names: []string{ValidateWebhook}},
		// What the cluster's tokens are signed with.
		{URLs: []string{"/.well-known/openid-configuration", "/openid/v1/jwks"}, Verbs: []string{"get"}},
		{Groups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}, Names: []string{RootSecret}, Own: true},
		{Groups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}, Own: true},
		{Groups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"create"}, Own: true},
		{Groups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "update"}, Names: []string{Lease}, Own: true},
	}
}

// Made are the objects that the control plane makes in its namespace, by their names.
func Made(namespace string) []*unstructured.Unstructured {
	made := func(apiVersion, kind, name string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
		u.SetNamespace(namespace)
		u.SetName(name)
		return u
	}
	return []*unstructured.Unstructured{made("coordination.k8s.io/v1", "Lease", Lease), made("v1", "Secret", RootSecret)}
}
