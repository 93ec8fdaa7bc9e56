package check

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/weftmesh/weft/control/cluster"
)

// soon is within which time the end of a certificate is worth a word.
const soon = 60 * 24 * time.Hour

// list are all objects of a kind of the core API, of all namespaces.
func (o *Options) list(ctx context.Context, kind, label string) ([]unstructured.Unstructured, error) {
	r, err := o.Client.Resource(schema.GroupVersionKind{Version: "v1", Kind: kind}, metav1.NamespaceAll)
	if err != nil {
		return nil, err
	}
	l, err := r.List(ctx, metav1.ListOptions{LabelSelector: label})
	if err != nil {
		return nil, err
	}
	return l.Items, nil
}

// certificates looks for those that end soon: the root, and those of gateways.
func certificates(ctx context.Context, o *Options) []Result {
	list, err := o.list(ctx, "Secret", "")
	if err != nil {
		return result(Skipped, "", "Secrets cannot be listed: %v", err)
	}
	var out []Result
	seen := 0
	for i := range list {
		u := &list[i]
		kind, _, _ := unstructured.NestedString(u.Object, "type")
		key, remedy := "tls.crt", "renew it"
		switch {
		case u.GetName() == cluster.RootSecret && u.GetNamespace() == o.namespace():
			key, remedy = "ca-cert.pem", "put a new root into the Secret "+cluster.RootSecret+", with the old one in the mesh's caCertificates until all proxies have new certificates"
		case kind != "kubernetes.io/tls":
			continue
		}
		text, _, _ := unstructured.NestedString(u.Object, "data", key)
		c, err := first(text)
		where := fmt.Sprintf("Secret %s/%s", u.GetNamespace(), u.GetName())
		if err != nil {
			out = append(out, result(Warn, "put a certificate in PEM there", "%s: %s: %v", where, key, err)...)
			continue
		}
		seen++
		switch left := c.NotAfter.Sub(o.Now()); {
		case left <= 0:
			out = append(out, result(Bad, remedy, "%s has ended at %s", where, c.NotAfter.UTC().Format(time.RFC3339))...)
		case left < soon:
			out = append(out, result(Warn, remedy, "%s ends in %d days, at %s", where, int(left.Hours()/24), c.NotAfter.UTC().Format(time.RFC3339))...)
		}
	}
	if out == nil {
		return ok("none of %d certificates ends within %d days", seen, int(soon.Hours()/24))
	}
	return out
}

// first is the first certificate of base64 of PEM.
func first(text string) (*x509.Certificate, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("has no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
