package patch

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// merge puts src into dst as Istio does: lists are appended, or with replace take the
// place of those there; entries of maps replace, durations do, other messages are
// merged field by field.
func merge(dst, src proto.Message, replace bool) {
	mergeInto(dst.ProtoReflect(), src.ProtoReflect(), replace)
}

func mergeInto(dst, src protoreflect.Message, replace bool) {
	src.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsList():
			list := dst.Mutable(fd).List()
			if replace {
				list.Truncate(0)
			}
			for i := range v.List().Len() {
				list.Append(copied(fd, v.List().Get(i)))
			}
		case fd.IsMap():
			m := dst.Mutable(fd).Map()
			v.Map().Range(func(k protoreflect.MapKey, e protoreflect.Value) bool {
				m.Set(k, copied(fd.MapValue(), e))
				return true
			})
		case fd.Message() == nil || fd.Message().FullName() == "google.protobuf.Duration":
			dst.Set(fd, copied(fd, v))
		default:
			mergeInto(dst.Mutable(fd).Message(), v.Message(), replace)
		}
		return true
	})
	if u := src.GetUnknown(); len(u) > 0 {
		dst.SetUnknown(append(dst.GetUnknown(), u...))
	}
}

// copied is a value that shares nothing with v.
func copied(fd protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	if fd.Message() == nil {
		return v // bytes are replaced, never written to
	}
	return protoreflect.ValueOfMessage(proto.Clone(v.Message().Interface()).ProtoReflect())
}

// mergeAny merges the messages inside of two Anys. They must be of one type.
func mergeAny(dst, src *anypb.Any) (*anypb.Any, error) {
	a, err := open(dst)
	if err != nil {
		return nil, err
	}
	b, err := open(src)
	if err != nil {
		return nil, err
	}
	if have, want := a.ProtoReflect().Descriptor().FullName(), b.ProtoReflect().Descriptor().FullName(); have != want {
		return nil, wrong("typed_config", "is %s, which cannot be merged into %s", want, have)
	}
	merge(a, b, false)
	return pack(dst.GetTypeUrl(), a)
}

// open unmarshals what is in an Any.
func open(a *anypb.Any) (proto.Message, error) {
	m, err := anypb.UnmarshalNew(a, proto.UnmarshalOptions{Resolver: envoy})
	if err != nil {
		return nil, wrong("typed_config", "cannot be read as %s: %v", a.GetTypeUrl(), err)
	}
	return m, nil
}

func pack(url string, m proto.Message) (*anypb.Any, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, wrong("typed_config", "cannot be written: %v", err)
	}
	return &anypb.Any{TypeUrl: url, Value: raw}, nil
}
