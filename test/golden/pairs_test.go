package golden

import (
	"slices"
	"testing"

	"github.com/weftmesh/weft/control/model"
)

// TestPairs: testdata/cases/pairs.txtar has a case for each pair of what Kubernetes says of
// a service, xDS and Istio's kinds, and the objects of the pair are in it. What kube-proxy
// does follows from Services.
func TestPairs(t *testing.T) {
	kubernetes := map[string][]model.Kind{
		"endpoint": {model.KindEndpointSlice, model.KindEndpoints}, "service": {model.KindService}, "kubeproxy": {model.KindService}, "ingress": {model.KindIngress},
	}
	istio := map[string][]model.Kind{
		"workloadentry": {model.KindWorkloadEntry}, "virtualservice": {model.KindVirtualService}, "destinationrule": {model.KindDestinationRule},
		"envoyfilter": {model.KindEnvoyFilter}, "gateway": {model.KindGateway}, "serviceentry": {model.KindServiceEntry},
	}
	cases := map[string]*oneCase{}
	for _, f := range caseFiles(t) {
		if f.name() == "pairs" {
			for _, c := range f.cases {
				cases[c.name] = c
			}
		}
	}
	need := func(name string, sides ...[]model.Kind) {
		c := cases[name]
		if c == nil {
			t.Errorf("there is no case %s", name)
			return
		}
		delete(cases, name)
		objects, _ := decode(c.inputs)
		for _, side := range sides {
			if !slices.ContainsFunc(objects, func(o model.Object) bool { return slices.Contains(side, o.Head().Key.Kind) }) {
				t.Errorf("%s has no %s", name, side[0])
			}
		}
	}
	for k, one := range kubernetes {
		need(k+"-xds", one)
		for i, other := range istio {
			need(k+"-"+i, one, other)
		}
	}
	for i, other := range istio {
		need(i+"-xds", other)
	}
	for name := range cases {
		t.Errorf("the case %s is of no pair", name)
	}
}
