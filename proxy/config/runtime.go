package config

import (
	"errors"
	"fmt"
	"path/filepath"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"

	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// layers reads the runtime. Without a layered_runtime there is an admin layer,
// as in Envoy.
func (b *Bootstrap) layers(m *bootstrapv3.LayeredRuntime) error {
	if m == nil {
		b.Runtime = runtime.New(runtime.Layer{Name: "admin", Admin: true})
		return nil
	}
	var out []runtime.Layer
	names, admin := map[string]bool{}, false
	for i, l := range m.Layers {
		if l.Name == "" || names[l.Name] {
			return at(fmt.Errorf("%q is empty, or that of another layer", l.Name), "layers[%d].name", i)
		}
		names[l.Name] = true
		layer, err := b.layer(l)
		if err != nil {
			return at(err, "layers[%d]", i)
		}
		if layer.Admin && admin {
			return at(errors.New("there may be one only"), "layers[%d].admin_layer", i)
		}
		admin = admin || layer.Admin
		out = append(out, layer)
	}
	b.Runtime = runtime.New(out...)
	return nil
}

func (b *Bootstrap) layer(m *bootstrapv3.RuntimeLayer) (runtime.Layer, error) {
	switch l := m.LayerSpecifier.(type) {
	case *bootstrapv3.RuntimeLayer_StaticLayer:
		layer, err := runtime.NewLayer(m.Name, l.StaticLayer.AsMap())
		return layer, at(err, "static_layer")
	case *bootstrapv3.RuntimeLayer_AdminLayer_:
		return runtime.Layer{Name: m.Name, Admin: true}, nil
	case *bootstrapv3.RuntimeLayer_DiskLayer_:
		d := runtime.Disk{Root: l.DiskLayer.SymlinkRoot, Path: filepath.Join(l.DiskLayer.SymlinkRoot, l.DiskLayer.Subdirectory)}
		if d.Root == "" {
			return runtime.Layer{}, at(errors.New("is empty"), "disk_layer.symlink_root")
		}
		if l.DiskLayer.AppendServiceCluster {
			d.Path = filepath.Join(d.Path, b.Node.GetCluster())
		}
		layer, err := runtime.NewDiskLayer(m.Name, d)
		return layer, at(err, "disk_layer")
	case *bootstrapv3.RuntimeLayer_RtdsLayer_:
		src, err := readSource(l.RtdsLayer.RtdsConfig, "")
		if err != nil {
			return runtime.Layer{}, at(err, "rtds_layer.rtds_config")
		}
		if l.RtdsLayer.Name == "" {
			return runtime.Layer{}, at(errors.New("is empty"), "rtds_layer.name")
		}
		b.runtimeNeeds = append(b.runtimeNeeds, need{name: l.RtdsLayer.Name, timeout: src.timeout})
		return runtime.Layer{Name: m.Name, Resource: l.RtdsLayer.Name}, nil
	}
	return runtime.Layer{}, errors.New("no layer: want static_layer, disk_layer, admin_layer or rtds_layer")
}

// applyRuntime takes layers of the runtime (RTDS).
func (s *Store) applyRuntime(u xds.Update) (rejected []xds.Rejection) {
	values := s.opt.Decoder.Runtime
	for _, r := range u.Set {
		m := &runtimev3.Runtime{}
		err := open(r.Body, m)
		if err == nil && m.Name != r.Name {
			err = at(fmt.Errorf("is %q, the resource's is %q", m.Name, r.Name), "name")
		}
		if err == nil {
			err = at(values.SetResource(r.Name, m.Layer.AsMap()), "layer")
		}
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range u.Removed {
		if err := values.SetResource(n, nil); err != nil {
			panic("BUG: a layer without values: " + err.Error())
		}
		s.noSuch(waitKey{wire.TypeRuntime, n})
	}
	for _, r := range u.Set { // a bad one is not waited for either, as in Envoy
		s.noSuch(waitKey{wire.TypeRuntime, r.Name})
	}
	s.activity.Add(1)
	s.progressLocked()
	return rejected
}

// haveRuntime tells whether the runtime's layers are there: nothing else goes live before.
func (s *Store) haveRuntime() bool {
	for _, n := range s.runtimeNeeds {
		if !s.gaveUp(waitKey{wire.TypeRuntime, n.name}) {
			return false
		}
	}
	return true
}
