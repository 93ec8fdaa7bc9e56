package proxy

import (
	"fmt"
	"regexp"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/admin"
)

// showRuntime lists the runtime's values.
func (r *runtime) showRuntime() (layers []string, out []admin.RuntimeEntry) {
	layers, entries := r.boot.Runtime.Entries()
	for _, e := range entries {
		out = append(out, admin.RuntimeEntry{Name: e.Name, Final: e.Final, Layers: e.Layers})
	}
	return layers, out
}

// narrow leaves of a dump what a query asks for: of one list its elements, and
// of all lists those whose names match.
func narrow(d *adminv3.ConfigDump, q admin.DumpQuery) error {
	if q.Resource == "" && q.Name == nil {
		return nil
	}
	var out []*anypb.Any
	found := q.Resource == ""
	for _, c := range d.Configs {
		m, err := c.UnmarshalNew()
		if err != nil {
			return err
		}
		elements, has := lists(m.ProtoReflect(), q)
		found = found || has
		if q.Resource == "" {
			elements = []proto.Message{m}
		}
		for _, e := range elements {
			a, err := anypb.New(e)
			if err != nil {
				return err
			}
			out = append(out, a)
		}
	}
	if !found {
		return fmt.Errorf("%s not found in config dump", q.Resource)
	}
	d.Configs = out
	return nil
}

// lists drops elements whose names do not match, and returns those of the list
// that is asked for; has tells that there is such a list.
func lists(m protoreflect.Message, q admin.DumpQuery) (of []proto.Message, has bool) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !f.IsList() || f.Kind() != protoreflect.MessageKind {
			continue
		}
		all := m.Mutable(f).List()
		kept := 0
		for k := range all.Len() {
			e := all.Get(k)
			if q.Name == nil || matches(e.Message(), q.Name) {
				all.Set(kept, e)
				kept++
			}
		}
		all.Truncate(kept)
		if string(f.Name()) != q.Resource {
			continue
		}
		has = true
		for k := range kept {
			of = append(of, all.Get(k).Message().Interface())
		}
	}
	return of, has
}

// matches looks at the name of an element, or of the resource inside it.
func matches(m protoreflect.Message, name *regexp.Regexp) bool {
	if a, ok := m.Interface().(*anypb.Any); ok {
		in, err := a.UnmarshalNew()
		return err == nil && matches(in.ProtoReflect(), name)
	}
	for _, field := range []protoreflect.Name{"name", "cluster_name"} {
		if f := m.Descriptor().Fields().ByName(field); f != nil && f.Kind() == protoreflect.StringKind {
			return name.MatchString(m.Get(f).String())
		}
	}
	ok := false
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap() {
			ok = ok || matches(v.Message(), name)
		}
		return !ok
	})
	return ok
}
