package install

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/kube/crd"
)

// Definitions are the CustomResourceDefinitions of the kinds that a decoder reads.
func Definitions(dec *document.Decoder) ([]*unstructured.Unstructured, error) {
	text, err := crd.YAML(crd.Of(dec))
	if err != nil {
		return nil, err
	}
	list, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("BUG: definitions: %w", err)
	}
	return list, nil
}

// isDefinition tells whether an object is a definition of a kind.
func isDefinition(u *unstructured.Unstructured) bool {
	return u.GetKind() == "CustomResourceDefinition"
}

// foreign tells whether a definition that a cluster has is another's.
func foreign(u *unstructured.Unstructured) bool {
	return isDefinition(u) && u.GetLabels()[crd.Label] == ""
}
