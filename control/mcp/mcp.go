// Package mcp offers what the control plane has found to other control planes, by MCP over xDS:
// istiod takes it as a registry with configSources: [{address: xds://HOST:PORT}], and another
// Weft with --config xds://HOST:PORT.
//
// A type is Istio's "GROUP/VERSION/KIND", a resource an istio.mcp.v1alpha1.Resource called
// NAMESPACE/NAME. Offered are ServiceEntries, those that registries' services amount to among
// them, and WorkloadEntries, those of workloads that registered themselves among them, under all
// versions that Istio has of these kinds; a consumer gets the types that it asks for, over delta
// streams what has changed, over others everything of a type. Of all other types there is nothing,
// and that is said, for istiod waits for an answer about each.
//
// A resource is made again only when its object is another. Addresses that the mesh has allocated
// are left out: whoever reads an entry allocates its own. Routes and policies are not offered:
// they are the user's own words, which the other mesh may read where they stand.
package mcp

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	mcppb "istio.io/api/mcp/v1alpha1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/serve"
)

// resourceType is the type of all resources' messages.
const resourceType = "type.googleapis.com/istio.mcp.v1alpha1.Resource"

// versions are those of Istio's networking API that have the kinds.
var versions = []string{"v1alpha3", "v1beta1", "v1"}

func typeURLs(kind model.Kind) []string {
	out := make([]string, len(versions))
	for i, v := range versions {
		out[i] = "networking.istio.io/" + v + "/" + string(kind)
	}
	return out
}

// Snapshots is where the objects come from.
type Snapshots interface {
	Load() *model.Snapshot
	Changed() <-chan struct{}
}

// Backend is the serve.Backend of all consumers. Make one with New.
type Backend struct {
	snapshots Snapshots

	mu    sync.Mutex
	of    *model.Snapshot // the state was made of it
	state *serve.State
	kinds map[model.Kind]*offer
}

// offer is what there is of one kind.
type offer struct {
	layer *resource.Layer
	made  map[string]made
}

// made is a resource and the objects that it was made of.
type made struct {
	of       []model.Object
	resource *resource.Resource
}

// New returns a Backend of what snapshots have.
func New(s Snapshots) *Backend {
	b := &Backend{snapshots: s, kinds: map[model.Kind]*offer{}}
	for _, k := range []model.Kind{model.KindServiceEntry, model.KindWorkloadEntry} {
		b.kinds[k] = &offer{}
	}
	return b
}

// Open implements serve.Backend: whoever may connect may read.
func (b *Backend) Open(context.Context, *corev3.Node, bool) (serve.Session, error) {
	return session{b}, nil
}

// session is a consumer; all hold the same.
type session struct{ b *Backend }

// State implements serve.Session.
func (s session) State(ctx context.Context) (*serve.State, <-chan struct{}, error) {
	for {
		changed := s.b.snapshots.Changed()
		if snap := s.b.snapshots.Load(); snap != nil {
			return s.b.stateOf(snap), changed, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// Report implements serve.Session.
func (session) Report(serve.Report) {}

// Close implements serve.Session.
func (session) Close() {}

// stateOf is the state that a snapshot amounts to, made once for all consumers. A consumer that
// comes with an older snapshot than another gets the newer state.
func (b *Backend) stateOf(snap *model.Snapshot) *serve.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of != nil && b.of.Version >= snap.Version {
		return b.state
	}
	b.kinds[model.KindServiceEntry].become(services(snap), serviceEntry)
	b.kinds[model.KindWorkloadEntry].become(workloads(snap), workloadEntry)
	state := &serve.State{Version: snap.Version, Sets: map[string]*resource.Set{}, Whole: true}
	for kind, o := range b.kinds {
		set := resource.Compose(o.layer, nil)
		for _, url := range typeURLs(kind) {
			state.Sets[url] = set
		}
	}
	b.of, b.state = snap, state
	return state
}

// services are the snapshot's ServiceEntries: the objects of each, by its resource's name. One of
// several hosts is as many.
func services(snap *model.Snapshot) map[string][]model.Object {
	out := map[string][]model.Object{}
	for _, s := range snap.Services {
		if !s.FromEntry || s.Of != (model.Key{}) {
			continue
		}
		for _, j := range s.Joined { // as it was written, without what others add
			if j.Key == s.Key {
				s = j
			}
		}
		name, _, _ := strings.Cut(s.Key.Name, "/")
		name = s.Key.Namespace + "/" + name
		out[name] = append(out[name], s)
	}
	return out
}

// workloads are the snapshot's WorkloadEntries that take traffic.
func workloads(snap *model.Snapshot) map[string][]model.Object {
	out := map[string][]model.Object{}
	for _, w := range snap.Workloads {
		if w.Key.Kind == model.KindWorkloadEntry && w.Ready {
			out[w.Key.Namespace+"/"+w.Key.Name] = []model.Object{w}
		}
	}
	return out
}

// become makes the resources of objects, of new ones anew.
func (o *offer) become(objects map[string][]model.Object, body func([]model.Object) proto.Message) {
	next, list := make(map[string]made, len(objects)), make([]*resource.Resource, 0, len(objects))
	for name, of := range objects {
		m, there := o.made[name]
		if !there || !same(m.of, of) {
			m = made{of, wrap(name, of[0].Head(), body(of))}
		}
		next[name] = m
		list = append(list, m.resource)
	}
	o.made, o.layer = next, o.layer.Become(list)
}

func same(a, b []model.Object) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// wrap makes the resource of a body.
func wrap(name string, of *model.Meta, body proto.Message) *resource.Resource {
	value := marshal(body)
	r := &mcppb.Resource{
		Metadata: &mcppb.Metadata{Name: name, Labels: of.Labels, Annotations: of.Annotations},
		Body:     &anypb.Any{TypeUrl: "type.googleapis.com/" + string(body.ProtoReflect().Descriptor().FullName()), Value: value},
	}
	if of.Created > 0 {
		r.Metadata.CreateTime = &timestamppb.Timestamp{Seconds: of.Created / 1e9, Nanos: int32(of.Created % 1e9)}
	}
	r.Metadata.Version = strconv.FormatUint(xxhash.Sum64(marshal(r)), 16)
	return resource.New(resourceType, name, r.GetMetadata().GetVersion(), marshal(r))
}

func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: an entry: " + err.Error())
	}
	return b
}
