package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/weftmesh/weft/control/cluster"
)

// Removal is what uninstalling removes and what it keeps.
type Removal struct {
	Remove, Keep []*unstructured.Unstructured
}

// Removal finds what is to be removed: what was installed and is there, and what the control
// plane has made. Without purge the definitions of kinds stay, with all objects of these, and
// the namespace with the root key: a mesh that is installed again has the same identities.
func (i *Installer) Removal(ctx context.Context, o Options, definitions []*unstructured.Unstructured, purge bool) (Removal, error) {
	var out Removal
	list, err := Objects(o)
	if err != nil {
		return out, err
	}
	// Webhooks first: they would wait for who is about to go.
	slices.Reverse(list)
	published, err := i.published(ctx)
	if err != nil {
		return out, err
	}
	list = append(list, published...)
	list = append(list, cluster.Made(ns(o))...)
	list = append(list, definitions...)
	for _, u := range list {
		have, err := i.Client.Get(ctx, u)
		switch {
		case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
			continue
		case err != nil:
			return out, fmt.Errorf("%s: %w", Title(u), err)
		case foreign(have):
			continue
		}
		if stays(have) && !purge {
			out.Keep = append(out.Keep, have)
		} else {
			out.Remove = append(out.Remove, have)
		}
	}
	return out, nil
}

func ns(o Options) string {
	if o.Namespace == "" {
		return DefaultNamespace
	}
	return o.Namespace
}

// stays tells whether only a purge removes an object.
func stays(u *unstructured.Unstructured) bool {
	return isDefinition(u) || u.GetKind() == "Namespace" || u.GetKind() == "Secret"
}

// published are the ConfigMaps with the root certificate, in all namespaces.
func (i *Installer) published(ctx context.Context) ([]*unstructured.Unstructured, error) {
	r, err := i.Client.Resource(configMapKind, metav1.NamespaceAll)
	if err != nil {
		return nil, err
	}
	list, err := r.List(ctx, metav1.ListOptions{LabelSelector: cluster.RootLabel})
	if err != nil {
		return nil, fmt.Errorf("ConfigMaps: %w", err)
	}
	out := make([]*unstructured.Unstructured, len(list.Items))
	for k := range list.Items {
		out[k] = &list.Items[k]
	}
	return out, nil
}

var configMapKind = podKind.GroupVersion().WithKind("ConfigMap")

// Remove removes objects, a line for each, and waits until they are gone. What it cannot
// remove does not keep it from the rest.
func (i *Installer) Remove(ctx context.Context, list []*unstructured.Unstructured, out io.Writer) error {
	var all []error
	for _, u := range list {
		if err := i.Client.Delete(ctx, u); err != nil && !apierrors.IsNotFound(err) {
			all = append(all, fmt.Errorf("%s: %w", Title(u), err))
			continue
		}
		fmt.Fprintf(out, "%s removed\n", Title(u))
		if u.GetKind() == "Deployment" {
			// While it runs it puts right what is removed.
			if err := i.ended(ctx, u); err != nil {
				all = append(all, err)
			}
		}
	}
	for _, u := range list {
		err := wait.PollUntilContextTimeout(ctx, pause, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
			_, err := i.Client.Get(ctx, u)
			return apierrors.IsNotFound(err) || meta.IsNoMatchError(err), nil
		})
		if err != nil && ctx.Err() == nil {
			all = append(all, fmt.Errorf("%s is still there: something keeps it (its finalizers: %s)", Title(u), strings.Join(u.GetFinalizers(), ", ")))
		}
	}
	return errors.Join(all...)
}

// ended waits until a Deployment that was removed has no pods.
func (i *Installer) ended(ctx context.Context, u *unstructured.Unstructured) error {
	pods, err := i.Client.Resource(podKind, u.GetNamespace())
	if err != nil {
		return err
	}
	left := 0
	err = wait.PollUntilContextTimeout(ctx, pause, time.Minute, true, func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: selector(u)})
		if err != nil {
			return false, err
		}
		left = len(list.Items)
		return left == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%s: %d of its pods have not ended: %w", Title(u), left, err)
	}
	return nil
}
