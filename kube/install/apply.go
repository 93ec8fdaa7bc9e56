package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
)

// pause is how often the server is asked how far something is.
const pause = 300 * time.Millisecond

// Apply carries a plan out and says so, a line per object that changes.
func (i *Installer) Apply(ctx context.Context, plan []Change, out io.Writer) error {
	for _, c := range plan {
		if c.Action == Keep || c.Action == Leave {
			continue
		}
		// A namespace that is new has a moment without what others put there.
		err := wait.PollUntilContextTimeout(ctx, pause, time.Minute, true, func(ctx context.Context) (bool, error) {
			_, err := i.apply(ctx, c.Object)
			if apierrors.IsNotFound(err) || apierrors.IsInternalError(err) || apierrors.IsTooManyRequests(err) {
				return false, nil
			}
			return err == nil, err
		})
		var conflict *ConflictError
		if errors.As(err, &conflict) {
			return err
		}
		if err != nil {
			return fmt.Errorf("%s: %w", Title(c.Object), err)
		}
		done := "created"
		if c.Action == Update {
			done = "changed"
		}
		fmt.Fprintf(out, "%s %s\n", Title(c.Object), done)
	}
	return nil
}

// Show writes what a plan would do; all of it, or without definitions that stay as they are.
func Show(out io.Writer, plan []Change, all bool) {
	unchanged := 0
	for _, c := range plan {
		switch {
		case c.Action == Keep && !all:
			unchanged++
			continue
		case c.Action == Leave:
			fmt.Fprintf(out, "  %s: left alone: %s\n", Title(c.Object), c.Why)
			continue
		}
		fmt.Fprintf(out, "%s %s\n", map[Action]string{Create: "+", Update: "~", Keep: "="}[c.Action], Title(c.Object))
		for _, f := range c.Fields {
			fmt.Fprintf(out, "    %s\n", f)
		}
	}
	if unchanged > 0 {
		fmt.Fprintf(out, "= %d objects are as they should be\n", unchanged)
	}
}

// Wait waits until what was installed works: the definitions are served, and the control
// plane is ready in all replicas and has put its certificate into the webhooks. It says what it
// waits for, and on timeout why it is not there.
func (i *Installer) Wait(ctx context.Context, list []*unstructured.Unstructured, out io.Writer) error {
	for _, u := range list {
		var ready func(*unstructured.Unstructured) string
		switch u.GetKind() {
		case "CustomResourceDefinition":
			ready = established
		case "Deployment":
			ready = rolledOut
		case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
			ready = trusted
		default:
			continue
		}
		if err := i.waitFor(ctx, u, ready, out); err != nil {
			return err
		}
	}
	return nil
}

// waitFor asks for an object until ready has nothing to say of it.
func (i *Installer) waitFor(ctx context.Context, u *unstructured.Unstructured, ready func(*unstructured.Unstructured) string, out io.Writer) error {
	last := ""
	err := wait.PollUntilContextCancel(ctx, pause, true, func(ctx context.Context) (bool, error) {
		have, err := i.Client.Get(ctx, u)
		why := ""
		if err != nil {
			why = err.Error()
		} else {
			why = ready(have)
		}
		if why != last && why != "" && !isDefinition(u) {
			fmt.Fprintf(out, "%s: %s\n", Title(u), why)
		}
		if why != "" {
			last = why
		}
		return why == "", nil
	})
	if err != nil {
		if u.GetKind() == "Deployment" {
			last += i.troubles(context.WithoutCancel(ctx), u)
		}
		return fmt.Errorf("%s is not ready: %s", Title(u), last)
	}
	return nil
}

// established says why a definition is not served; "": it is.
func established(u *unstructured.Unstructured) string {
	if status, why := condition(u, "Established"); status != "True" {
		return "it is not served yet " + why
	}
	return ""
}

// rolledOut says how far a Deployment is; "": it is done.
func rolledOut(u *unstructured.Unstructured) string {
	number := func(path ...string) int64 { n, _, _ := unstructured.NestedInt64(u.Object, path...); return n }
	want := number("spec", "replicas")
	switch updated, ready := number("status", "updatedReplicas"), number("status", "availableReplicas"); {
	case number("status", "observedGeneration") < u.GetGeneration():
		return "waiting to be noticed"
	case updated < want:
		return fmt.Sprintf("%d of %d replicas are new", updated, want)
	case ready < want:
		return fmt.Sprintf("%d of %d replicas are ready", ready, want)
	case number("status", "replicas") > want:
		return "the replicas of before are ending"
	}
	return ""
}

// trusted says which webhook has no authority yet; "": all have.
func trusted(u *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
	for _, w := range list {
		m, _ := w.(map[string]any)
		if b, _, _ := unstructured.NestedString(m, "clientConfig", "caBundle"); b == "" {
			return fmt.Sprintf("waiting for the certificate of %v", m["name"])
		}
	}
	return ""
}

// condition is the value of a condition of an object, and what it says.
func condition(u *unstructured.Unstructured, kind string) (status, message string) {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range list {
		if m, _ := c.(map[string]any); m["type"] == kind {
			status, _ = m["status"].(string)
			message, _ = m["message"].(string)
		}
	}
	return status, message
}
