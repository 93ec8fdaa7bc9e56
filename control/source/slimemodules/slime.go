// Package slimemodules is the front end of Slime's kinds: ServiceFence, SlimeBoot, EnvoyPlugin and PluginManager, in the
// groups and spellings that its releases have had.
//
// Fences become model.Fence, plug-ins the same patches that an EnvoyFilter's are. What says where Slime's own
// programs run is passed over: Weft has none of them, which a Finding says where somebody may wait for one.
package slimemodules

import (
	"reflect"
	"sync"

	api "github.com/weftmesh/weft/api/slime/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// CodeNotNeeded: what an object asks for is part of Weft, or has no use in it.
const CodeNotNeeded = "WEFT0191"

// FrontEnds returns the front ends of Slime's kinds.
func FrontEnds() []document.FrontEnd {
	s := shapes()
	var out []document.FrontEnd
	for _, group := range []string{api.FenceGroup, api.FenceGroupOld} {
		for _, k := range []struct {
			kind    model.Kind
			shape   *document.Shape
			convert func(*document.Document) []model.Object
		}{
			{model.KindServiceFence, s.fence, convertFence}, {model.KindPluginManager, s.manager, convertManager}, {model.KindEnvoyPlugin, s.plugin, convertEnvoyPlugin},
		} {
			out = append(out, document.FrontEnd{Kind: string(k.kind), Group: group, Versions: []string{api.Version}, Shape: k.shape, Convert: k.convert})
		}
	}
	return append(out, document.FrontEnd{Kind: "SlimeBoot", Group: api.BootGroup, Versions: []string{api.Version}, Shape: s.boot, Convert: convertBoot})
}

type shapeSet struct{ fence, boot, manager, plugin *document.Shape }

var shapes = sync.OnceValue(func() shapeSet {
	b := document.NewBuilder(document.Rules{})
	return shapeSet{
		fence:   document.Spec(b.GoType(reflect.TypeFor[api.ServiceFenceSpec]())),
		boot:    document.Spec(b.GoType(reflect.TypeFor[api.SlimeBootSpec]())),
		manager: document.Spec(b.GoType(reflect.TypeFor[api.PluginManagerSpec]())),
		plugin:  document.Spec(b.GoType(reflect.TypeFor[api.EnvoyPluginSpec]())),
	}
})

// twice is a field in two spellings.
type twice struct{ at, one, other string }

// either is the one of two spellings that is written; both is a fault.
func either[T any](d *document.Document, w twice, a, b T) T {
	switch {
	case absent(b):
		return a
	case !absent(a):
		d.Invalid(document.Join(w.at, w.other), "keep one of the two", "is %s in another spelling, which is written too", w.one)
	}
	return b
}

func absent(v any) bool { return v == nil || reflect.ValueOf(v).IsZero() }
