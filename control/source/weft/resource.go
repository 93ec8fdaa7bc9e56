package weft

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/weftmesh/weft/api/weft/v1alpha1"
	"github.com/weftmesh/weft/control/source/document"
)

// quantity is what an instance may use of something, in cores or bytes: the limit, else the request; 0: not said.
func quantity(d *document.Document, r *api.Resources, name string) float64 {
	out := 0.0
	for _, part := range []struct {
		field string
		from  map[string]any
	}{{"requests", r.Requests}, {"limits", r.Limits}} {
		v, there := part.from[name]
		if !there {
			continue
		}
		at := "spec.resources." + part.field + "." + name
		q, err := resource.ParseQuantity(strings.TrimSpace(fmt.Sprint(v)))
		if err != nil || q.Sign() <= 0 {
			d.Invalid(at, `write e.g. "500m" or "256Mi"`, "%v is no quantity", v)
			continue
		}
		out = q.AsApproximateFloat64()
	}
	return out
}
