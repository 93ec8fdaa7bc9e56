package apiserver

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// outcome is what became of an object.
type outcome struct {
	objects  []model.Object
	findings []model.Finding
	bad      bool
}

// convert makes model objects of one of the server's.
func (f *follower) convert(u *unstructured.Unstructured) *item {
	switch f.is {
	case pods:
		return f.source.pod(u)
	case nodes:
		return node(u)
	case definitions:
		return &item{}
	}
	u.SetManagedFields(nil)
	if a := u.GetAnnotations(); a["kubectl.kubernetes.io/last-applied-configuration"] != "" {
		delete(a, "kubectl.kubernetes.io/last-applied-configuration")
		u.SetAnnotations(a)
	}
	text, err := u.MarshalJSON()
	if err != nil {
		return &item{outcome: outcome{bad: true, findings: []model.Finding{{
			Code: document.CodeText, Severity: model.Error, Origin: model.Origin{Source: Name},
			Object:  model.Key{Kind: model.Kind(u.GetKind()), Namespace: u.GetNamespace(), Name: u.GetName()},
			Message: fmt.Sprintf("cannot be written as JSON: %v", err),
		}}}}
	}
	it := &item{}
	for _, r := range f.source.opts.Decoder.Decode(text, document.Input{Source: Name}) {
		it.objects = append(it.objects, r.Objects...)
		it.findings = append(it.findings, r.Findings...)
		it.bad = it.bad || r.Bad
	}
	return it
}
