package wire

import "testing"

func TestLocalityOf(t *testing.T) {
	for _, c := range []struct {
		labels map[string]string
		want   Locality
	}{
		{nil, Locality{}},
		{map[string]string{"topology.istio.io/locality": "r1.z1.s1"}, Locality{"r1", "z1", "s1"}},
		{map[string]string{"istio-locality": "r1/z.1"}, Locality{"r1", "z.1", ""}},
		{map[string]string{"topology.istio.io/locality": "r1", "topology.kubernetes.io/zone": "z9"}, Locality{Region: "r1"}},
		{map[string]string{"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1", "topology.istio.io/subzone": "s1"}, Locality{"r1", "z1", "s1"}},
	} {
		if got := LocalityOf(c.labels); got != c.want {
			t.Errorf("%v: got %v, want %v", c.labels, got, c.want)
		}
	}
}
