package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/weftmesh/weft/control/source/document"
)

// resource is something that can be listed and watched.
type resource struct {
	schema.GroupVersionResource
	kind string
}

// String is how Kubernetes' users call it: "virtualservices.networking.istio.io".
func (r resource) String() string { return r.GroupResource().String() }

// What is read though no front end is for it.
var (
	pods        = resource{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "Pod"}
	nodes       = resource{schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, "Node"}
	definitions = resource{schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, "CustomResourceDefinition"}
)

// passed are kinds that front ends read of files and that a live server says better.
var passed = []schema.GroupKind{{Kind: "Endpoints"}}

// fields narrow lists down to what can be of use.
var fields = map[string]string{
	"secrets": "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,type!=bootstrap.kubernetes.io/token",
	"pods":    "status.phase!=Succeeded,status.phase!=Failed",
}

// Kinds are those that a source with a decoder asks a server for, where it has them.
func Kinds(dec *document.Decoder) []schema.GroupKind {
	out := []schema.GroupKind{{Kind: pods.kind}, {Kind: nodes.kind}, {Group: definitions.Group, Kind: definitions.kind}}
	for _, f := range dec.FrontEnds() {
		if gk := (schema.GroupKind{Group: f.Group, Kind: f.Kind}); !slices.Contains(passed, gk) && !slices.Contains(out, gk) {
			out = append(out, gk)
		}
	}
	return out
}

// discover asks which kinds the server has, follows those that Weft reads, and leaves
// those that are there no more. again: it is to be tried again after a while.
func (s *Source) discover(ctx context.Context) (again bool) {
	_, lists, err := s.discovery.ServerGroupsAndResources()
	var partly *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &partly) {
		s.trouble = fmt.Sprintf("it does not say which kinds it has: %v", err)
		s.log.Warn("not known which kinds there are", "error", err)
		return true
	}
	s.trouble = ""
	want := map[resource]bool{pods: true, nodes: true, definitions: true}
	best := map[schema.GroupKind]int{}
	at := map[schema.GroupKind]resource{}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			continue
		}
		for i := range l.APIResources {
			r := &l.APIResources[i]
			gk := schema.GroupKind{Group: gv.Group, Kind: r.Kind}
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "watch") || slices.Contains(passed, gk) {
				continue
			}
			front := s.opts.Decoder.Find(gv.Group, r.Kind)
			if front == nil {
				continue
			}
			rank := slices.Index(front.Versions, gv.Version)
			if old, ok := best[gk]; rank < 0 || ok && old <= rank {
				continue
			}
			best[gk], at[gk] = rank, resource{gv.WithResource(r.Name), r.Kind}
		}
	}
	for _, r := range at {
		want[r] = true
	}
	s.follow(ctx, want, partly)
	return partly != nil || s.following[definitions].failure() != ""
}

// follow starts and ends followers. A group that the server could not speak of keeps its own.
func (s *Source) follow(ctx context.Context, want map[resource]bool, unknown *discovery.ErrGroupDiscoveryFailed) {
	for r := range want {
		if s.following[r] == nil {
			s.following[r] = s.start(ctx, r)
		}
	}
	for r, f := range s.following {
		if want[r] {
			continue
		}
		if unknown != nil {
			if _, ok := unknown.Groups[r.GroupVersion()]; ok {
				continue
			}
		}
		f.cancel()
		<-f.ended
		f.empty()
	}
}
