package serve

import (
	"fmt"
	"math/rand/v2"
	"testing"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/wire"
)

// holder is a delta consumer that keeps what it was told, as Envoy does.
type holder struct {
	t        *testing.T
	d        *delta
	held     map[string]string
	absent   map[string]bool
	nonce    string
	unwanted map[string]string // sent although it was held in that version
	asked    map[string]bool   // anew since the last response
}

func newHolder(t *testing.T) *holder {
	h := &holder{t: t, held: map[string]string{}, absent: map[string]bool{}, unwanted: map[string]string{}, asked: map[string]bool{}}
	h.d = newDelta(&recorder{}, func(raw *response) error {
		r := read(t, raw, &discoverypb.DeltaDiscoveryResponse{})
		for _, x := range r.Resources {
			if h.held[x.Name] == x.Version && !h.asked[x.Name] {
				h.unwanted[x.Name] = x.Version
			}
			h.held[x.Name] = x.Version
			delete(h.absent, x.Name)
		}
		for _, name := range r.RemovedResources {
			delete(h.held, name)
			h.absent[name] = true
		}
		h.nonce = r.Nonce
		clear(h.asked)
		return nil
	})
	return h
}

// TestDeltaFollowsAnySet changes a set and a subscription at random, with answers
// that come late, and compares what the consumer has in the end with what it asks
// for. Sets come as successors of one another, and as new ones.
func TestDeltaFollowsAnySet(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		h := newHolder(t)
		wildcard := seed%2 == 0
		subs := map[string]bool{}
		layer := resource.NewLayer(nil)
		name := func() string { return fmt.Sprintf("r%02d", rnd.IntN(40)) }
		state := &State{Version: 1, Sets: map[string]*resource.Set{}}
		request := func(r *discoverypb.DeltaDiscoveryRequest) {
			r.TypeUrl = wire.TypeSecret
			if err := h.d.request(r); err != nil {
				t.Fatal(err)
			}
		}
		answer := func() {
			if h.nonce != "" {
				request(&discoverypb.DeltaDiscoveryRequest{ResponseNonce: h.nonce})
				h.nonce = ""
			}
		}
		pump := func() {
			if err := h.d.pump(state); err != nil {
				t.Fatal(err)
			}
		}
		first := &discoverypb.DeltaDiscoveryRequest{}
		if !wildcard {
			first.ResourceNamesSubscribe = []string{"r00"}
			subs["r00"], h.asked["r00"] = true, true
		}
		request(first)
		for range 150 {
			switch rnd.IntN(6) {
			case 0, 1:
				layer = layer.With([]*resource.Resource{resource.New("t", name(), fmt.Sprint(rnd.IntN(3)), nil)}, []string{name()})
				state = &State{Version: state.Version + 1, Sets: map[string]*resource.Set{wire.TypeSecret: resource.Compose(layer, nil)}}
			case 2:
				if rnd.IntN(4) == 0 { // as a stream that is brought to a set of unknown origin
					layer = resource.NewLayer(layer.List())
				}
			case 3:
				var names []string
				for range 1 + rnd.IntN(25) {
					n := name()
					names, subs[n], h.asked[n] = append(names, n), true, true
				}
				request(&discoverypb.DeltaDiscoveryRequest{ResourceNamesSubscribe: names})
			case 4:
				n := name()
				request(&discoverypb.DeltaDiscoveryRequest{ResourceNamesUnsubscribe: []string{n}})
				delete(subs, n)
				if !wildcard {
					delete(h.held, n)
				}
				delete(h.absent, n)
			default:
				answer()
			}
			pump()
		}
		for h.nonce != "" || h.d.of(wire.TypeSecret).pending != nil {
			answer()
			pump()
		}
		want := map[string]string{}
		for _, r := range layer.List() {
			if wildcard || subs[r.Name] {
				want[r.Name] = r.Version
			}
		}
		if d := cmp.Diff(want, h.held); d != "" {
			t.Errorf("seed %d: the consumer holds (-want +got):\n%s", seed, d)
		}
		for n := range subs {
			if want[n] == "" && !h.absent[n] {
				t.Errorf("seed %d: %s was asked for, and never answered", seed, n)
			}
		}
		if len(h.unwanted) > 0 {
			t.Errorf("seed %d: sent again for nothing: %v", seed, h.unwanted)
		}
		if !h.d.isSettled(state) {
			t.Errorf("seed %d: not settled with everything answered", seed)
		}
	}
}
