package check

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/control/cluster"
	"github.com/weftmesh/weft/kube/install"
)

func controlPlane(ctx context.Context, o *Options) []Result {
	u, err := o.get(ctx, "apps/v1", "Deployment", o.namespace(), install.Name)
	if err != nil {
		return result(Bad, "weft install", "it is not installed: %v", err)
	}
	want, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
	ready, _, _ := unstructured.NestedInt64(u.Object, "status", "availableReplicas")
	how := fmt.Sprintf("%d of %d replicas are ready", ready, want)
	logs := fmt.Sprintf("kubectl -n %s describe pods; kubectl -n %[1]s logs deploy/%s", o.namespace(), install.Name)
	switch {
	case ready == 0:
		return result(Bad, logs, "%s", how)
	case ready < want:
		return result(Warn, logs, "%s", how)
	}
	return ok("%s", how)
}

// leader tells whether a replica writes.
func leader(ctx context.Context, o *Options) []Result {
	remedy := fmt.Sprintf("kubectl -n %s logs deploy/%s", o.namespace(), install.Name)
	u, err := o.get(ctx, "coordination.k8s.io/v1", "Lease", o.namespace(), cluster.Lease)
	if err != nil {
		return result(Bad, remedy, "no replica writes to the cluster: %v", err)
	}
	holder, _, _ := unstructured.NestedString(u.Object, "spec", "holderIdentity")
	text, _, _ := unstructured.NestedString(u.Object, "spec", "renewTime")
	seconds, _, _ := unstructured.NestedInt64(u.Object, "spec", "leaseDurationSeconds")
	at, err := time.Parse(time.RFC3339Nano, text)
	if holder == "" || err != nil || o.Now().Sub(at) > time.Duration(2*seconds)*time.Second {
		return result(Bad, remedy, "no replica writes to the cluster: the lease was renewed last at %s, by %q", text, holder)
	}
	return ok("%s writes to the cluster", holder)
}

// root is the mesh's root certificate.
func (o *Options) root(ctx context.Context) ([]byte, error) {
	u, err := o.get(ctx, "v1", "ConfigMap", o.namespace(), cluster.RootConfigMap)
	if err != nil {
		return nil, err
	}
	text, _, _ := unstructured.NestedString(u.Object, "data", "root-cert.pem")
	return []byte(text), nil
}

// webhookCertificates tells whether API servers will believe the control plane.
func webhookCertificates(ctx context.Context, o *Options) []Result {
	root, err := o.root(ctx)
	if err != nil {
		return result(Bad, "see the check leader", "the root certificate is not published: %v", err)
	}
	var out []Result
	for kind, name := range map[string]string{"MutatingWebhookConfiguration": cluster.InjectWebhook, "ValidatingWebhookConfiguration": cluster.ValidateWebhook} {
		u, err := o.get(ctx, "admissionregistration.k8s.io/v1", kind, "", name)
		if err != nil {
			out = append(out, result(Bad, "weft install", "%s %s: %v", kind, name, err)...)
			continue
		}
		list, _, _ := unstructured.NestedSlice(u.Object, "webhooks")
		for _, w := range list {
			m, _ := w.(map[string]any)
			have, _, _ := unstructured.NestedString(m, "clientConfig", "caBundle")
			if raw, _ := base64.StdEncoding.DecodeString(have); !bytes.Equal(raw, root) {
				out = append(out, result(Bad, "see the check leader: it writes the certificate there", "webhook %v trusts another authority than the mesh's", m["name"])...)
			}
		}
	}
	if out == nil {
		return ok("the webhooks trust the mesh's authority")
	}
	return out
}

// wrong is an object that the webhook refuses, and the schema of its definition does not.
func wrong() *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "spec": map[string]any{"hosts": []any{"not a host"}},
	}}
	u.SetNamespace(metav1.NamespaceDefault)
	u.SetName("weft-check")
	return u
}

// webhookReachable has the API server ask the control plane, about an object that is not
// stored.
func webhookReachable(ctx context.Context, o *Options) []Result {
	r, err := o.Client.Of(wrong())
	if err != nil {
		return result(Skipped, "", "VirtualService is not defined: %v", err)
	}
	_, err = r.Create(ctx, wrong(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	switch {
	case err != nil && strings.Contains(err.Error(), "validate.weft.dev"):
		return ok("the API server reaches the control plane")
	case apierrors.IsForbidden(err):
		return result(Skipped, "", "you may not try it: %v", err)
	case err != nil:
		return result(Warn, "", "another than Weft has refused an object: %v", err)
	}
	return result(Bad, "let the API server's machines reach port 15017 of the control plane's pods (firewalls, network policies)",
		"the API server does not reach the control plane: a wrong object would have been stored, and pods that are to be injected would not start")
}

// rootPublished tells whether pods of all namespaces can know the control plane.
func rootPublished(ctx context.Context, o *Options) []Result {
	root, err := o.root(ctx)
	if err != nil {
		return result(Bad, "see the check leader", "the root certificate is not published: %v", err)
	}
	all, err := o.list(ctx, "Namespace", "")
	if err != nil {
		return result(Skipped, "", "namespaces cannot be listed: %v", err)
	}
	maps, err := o.list(ctx, "ConfigMap", cluster.RootLabel)
	if err != nil {
		return result(Skipped, "", "ConfigMaps cannot be listed: %v", err)
	}
	have := map[string]bool{}
	for i := range maps {
		text, _, _ := unstructured.NestedString(maps[i].Object, "data", "root-cert.pem")
		have[maps[i].GetNamespace()] = text == string(root)
	}
	var missing []string
	for i := range all {
		if n := all[i].GetName(); !have[n] && all[i].GetDeletionTimestamp() == nil {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		return result(Bad, "see the check leader: it writes it", "namespaces without the root certificate: %s", few(missing))
	}
	return ok("%d namespaces have the root certificate", len(all))
}
