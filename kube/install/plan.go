package install

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/kube/objects"
)

// manager is who the fields of what is installed belong to.
const manager = "weft-install"

// Action is what applying an object does.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "change"
	Keep   Action = "unchanged"
	// Leave: the object is another's, who keeps it.
	Leave Action = "leave"
)

// Change is what applying an object would do.
type Change struct {
	Object *unstructured.Unstructured
	Action Action
	// Fields are those that would change, e.g. "spec.replicas: 1 → 2".
	Fields []string
	// Why says why the object is left alone.
	Why string
}

// Installer applies objects to a cluster.
type Installer struct {
	Client *objects.Client
	// Force takes fields over that others have set.
	Force bool
}

// ConflictError says that others have set fields to other values.
type ConflictError struct {
	// Object is its title, Err what the server says.
	Object string
	Err    error
}

// Error names the object and the fields.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s: others have set fields that are to be changed: give --force to take them over (%v)", e.Object, e.Err)
}

// Unwrap returns what the server says.
func (e *ConflictError) Unwrap() error { return e.Err }

// Plan asks the server what applying objects would do, and changes nothing.
func (i *Installer) Plan(ctx context.Context, list []*unstructured.Unstructured) ([]Change, error) {
	out := make([]Change, 0, len(list))
	for _, u := range list {
		c, err := i.plan(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", Title(u), err)
		}
		out = append(out, c)
	}
	return out, nil
}

func (i *Installer) plan(ctx context.Context, u *unstructured.Unstructured) (Change, error) {
	c := Change{Object: u, Action: Create}
	have, err := i.Client.Get(ctx, u)
	switch {
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return c, nil
	case err != nil:
		return c, err
	case foreign(have):
		c.Action, c.Why = Leave, "others have installed it"
		return c, nil
	}
	then, err := i.apply(ctx, u, metav1.DryRunAll)
	if err != nil {
		return c, err
	}
	c.Action = Update
	if c.Fields = differences(have.Object, then.Object); len(c.Fields) == 0 {
		c.Action = Keep
	}
	return c, nil
}

func (i *Installer) apply(ctx context.Context, u *unstructured.Unstructured, dry ...string) (*unstructured.Unstructured, error) {
	out, err := i.Client.Apply(ctx, u, metav1.ApplyOptions{FieldManager: manager, Force: i.Force, DryRun: dry})
	if apierrors.IsConflict(err) {
		return nil, &ConflictError{Title(u), err}
	}
	return out, err
}

// passing are fields that the server changes by itself.
var passing = []string{"metadata.managedFields", "metadata.resourceVersion", "metadata.generation", "metadata.uid", "metadata.creationTimestamp", "status"}

// differences are the fields in which an object differs from another one.
func differences(have, then map[string]any) []string {
	var out []string
	differ(&out, "", have, then)
	sort.Strings(out)
	return out
}

func differ(out *[]string, path string, have, then any) {
	if slices.Contains(passing, path) || reflect.DeepEqual(have, then) {
		return
	}
	a, aMap := have.(map[string]any)
	b, bMap := then.(map[string]any)
	if aMap && bMap {
		for k := range a {
			differ(out, join(path, k), a[k], b[k])
		}
		for k := range b {
			if _, ok := a[k]; !ok {
				differ(out, join(path, k), nil, b[k])
			}
		}
		return
	}
	x, xList := have.([]any)
	y, yList := then.([]any)
	if xList && yList && len(x) == len(y) {
		for k := range x {
			differ(out, fmt.Sprintf("%s[%d]", path, k), x[k], y[k])
		}
		return
	}
	*out = append(*out, fmt.Sprintf("%s: %s → %s", path, short(have), short(then)))
}

func join(path, name string) string {
	if strings.ContainsAny(name, "./") {
		name = "[" + name + "]"
	}
	return strings.TrimPrefix(path+"."+name, ".")
}

// longest is how much of a value is shown, in bytes.
const longest = 60

func short(v any) string {
	if v == nil {
		return "none"
	}
	s := strings.ReplaceAll(fmt.Sprint(v), "\n", "⏎")
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "…"
	}
	return s
}
