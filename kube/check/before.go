package check

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	authorization "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	typed "k8s.io/client-go/kubernetes/typed/authorization/v1"

	"github.com/weftmesh/weft/kube/crd"
	"github.com/weftmesh/weft/kube/install"
)

// oldest is the oldest minor version of Kubernetes 1 on which sidecars start before the
// program and end after it.
const oldest = 29

func apiServer(_ context.Context, o *Options) []Result {
	v, err := o.Client.Discovery.ServerVersion()
	if err != nil {
		return result(Bad, "check the kubeconfig (--kubeconfig, --context) and whether the cluster runs", "%s does not answer: %v", o.Client.Config.Host, err)
	}
	return ok("%s answers: Kubernetes %s", o.Client.Config.Host, v.GitVersion)
}

func version(_ context.Context, o *Options) []Result {
	v, err := o.Client.Discovery.ServerVersion()
	if err != nil {
		return result(Bad, "", "%v", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	if err != nil || v.Major != "1" {
		return result(Warn, "", "version %s.%s is not known", v.Major, v.Minor)
	}
	if minor < oldest {
		return result(Bad, fmt.Sprintf("use Kubernetes 1.%d or newer", oldest), "Kubernetes %s has no sidecars that start before the program", v.GitVersion)
	}
	return ok("Kubernetes %s", v.GitVersion)
}

// permissions asks whether all that is installed may be made by who asks.
func permissions(ctx context.Context, o *Options) []Result {
	list, err := install.Objects(o.Install)
	if err != nil {
		return result(Bad, "", "%v", err)
	}
	list = append(list, o.Definitions[:min(1, len(o.Definitions))]...)
	client, err := typed.NewForConfig(o.Client.Config)
	if err != nil {
		return result(Bad, "", "%v", err)
	}
	var denied, asked []string
	for _, u := range list {
		gvk := u.GroupVersionKind()
		for _, verb := range []string{"get", "create", "patch"} {
			what := verb + " " + crd.Plural(gvk.Kind)
			if u.GetNamespace() != "" {
				what += " in " + u.GetNamespace()
			}
			if slices.Contains(asked, what) {
				continue
			}
			asked = append(asked, what)
			r, err := client.SelfSubjectAccessReviews().Create(ctx, &authorization.SelfSubjectAccessReview{Spec: authorization.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorization.ResourceAttributes{Namespace: u.GetNamespace(), Verb: verb, Group: gvk.Group, Resource: crd.Plural(gvk.Kind)},
			}}, metav1.CreateOptions{})
			if err != nil {
				return result(Warn, "", "it cannot be asked what you may do: %v", err)
			}
			if !r.Status.Allowed {
				denied = append(denied, what)
			}
		}
	}
	if len(denied) > 0 {
		return result(Bad, "ask for the permissions (cluster-admin has them), or let who has them apply what `weft install -o yaml` prints", "you may not %s", few(denied))
	}
	return ok("you may make all that is installed (%d permissions)", len(asked))
}

// definitions compares those that the cluster has with what Weft reads.
func definitions(ctx context.Context, o *Options) []Result {
	var missing, foreign, versions []string
	for _, d := range o.Definitions {
		have, err := o.Client.Get(ctx, d)
		switch {
		case apierrors.IsNotFound(err):
			missing = append(missing, d.GetName())
			continue
		case err != nil:
			return result(Bad, "", "%s: %v", d.GetName(), err)
		case have.GetLabels()[crd.Label] == "":
			foreign = append(foreign, d.GetName())
		}
		if served := common(d, have); !served {
			versions = append(versions, d.GetName())
		}
	}
	var out []Result
	if len(versions) > 0 {
		out = append(out, result(Warn, "install a newer version of the definitions", "no version of these kinds is one that Weft reads: %s", few(versions))...)
	}
	message := fmt.Sprintf("%d kinds", len(o.Definitions))
	if len(missing) > 0 {
		message += fmt.Sprintf(", %d of which weft install will define", len(missing))
	}
	if len(foreign) > 0 {
		message += fmt.Sprintf(", %d defined by others, which stay theirs: %s", len(foreign), few(foreign))
	}
	return append(out, ok("%s", message)...)
}

// common tells whether two definitions have a version in common that is served.
func common(ours, have *unstructured.Unstructured) bool {
	names := func(u *unstructured.Unstructured) (out []string) {
		list, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
		for _, v := range list {
			if m, _ := v.(map[string]any); m["served"] == true {
				name, _ := m["name"].(string)
				out = append(out, name)
			}
		}
		return out
	}
	theirs := names(have)
	return slices.ContainsFunc(names(ours), func(v string) bool { return slices.Contains(theirs, v) })
}

// others looks for meshes whose injectors would answer for the same pods.
func others(ctx context.Context, o *Options) []Result {
	r, err := o.Client.Resource(schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"}, "")
	if err != nil {
		return result(Warn, "", "%v", err)
	}
	list, err := r.List(ctx, metav1.ListOptions{})
	if err != nil {
		return result(Warn, "", "webhooks cannot be listed: %v", err)
	}
	var found []string
	for i := range list.Items {
		if n := list.Items[i].GetName(); strings.Contains(n, "istio-sidecar-injector") || strings.Contains(n, "linkerd-proxy-injector") || strings.Contains(n, "kuma") {
			found = append(found, n)
		}
	}
	if len(found) > 0 {
		return result(Warn, "have one mesh answer for istio-injection, and let the other's namespaces say istio.io/rev", "another mesh injects proxies: %s", few(found))
	}
	return ok("no other mesh injects proxies")
}
