package translate

import (
	"github.com/cncf/xds/go/udpa/annotations"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// redacted stands for what is not to be shown, as in Envoy's dumps.
const redacted = "[redacted]"

// Redact returns a message without what Envoy's API marks as sensitive, such as
// private keys: for whatever is shown to people. The message itself stays as it is,
// and is returned where nothing in it is sensitive.
func Redact(m proto.Message) proto.Message {
	if !sensitive(m.ProtoReflect()) {
		return m
	}
	out := proto.Clone(m)
	hide(out.ProtoReflect())
	return out
}

// sensitive tells whether anything in a message is.
func sensitive(m protoreflect.Message) (found bool) {
	walk(m, func(f protoreflect.FieldDescriptor, _ protoreflect.Message) { found = found || marked(f) })
	return found
}

// hide overwrites what is sensitive.
func hide(m protoreflect.Message) {
	walk(m, func(f protoreflect.FieldDescriptor, in protoreflect.Message) {
		if !marked(f) {
			return
		}
		switch {
		case f.IsList() || f.IsMap():
			in.Clear(f)
		case f.Kind() == protoreflect.StringKind:
			in.Set(f, protoreflect.ValueOfString(redacted))
		case f.Kind() == protoreflect.BytesKind:
			in.Set(f, protoreflect.ValueOfBytes([]byte(redacted)))
		case f.Message() != nil && f.Message().FullName() == (&corev3.DataSource{}).ProtoReflect().Descriptor().FullName():
			shown := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: redacted}}
			if d, ok := in.Get(f).Message().Interface().(*corev3.DataSource); ok && d.GetFilename() != "" {
				shown = d // where it is, is no secret
			}
			in.Set(f, protoreflect.ValueOfMessage(shown.ProtoReflect()))
		default:
			in.Clear(f)
		}
	})
}

// walk visits each field that is set, parents before what is in them. Resources that
// are made here pack no secrets into Any: these go by SDS.
func walk(m protoreflect.Message, visit func(protoreflect.FieldDescriptor, protoreflect.Message)) {
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		visit(f, m)
		if f.Message() == nil || f.IsMap() || !m.Has(f) {
			return true
		}
		if f.IsList() {
			for l, i := m.Get(f).List(), 0; i < l.Len(); i++ {
				walk(l.Get(i).Message(), visit)
			}
			return true
		}
		walk(m.Get(f).Message(), visit)
		return true
	})
}

func marked(f protoreflect.FieldDescriptor) bool {
	o, ok := f.Options().(*descriptorpb.FieldOptions)
	return ok && o != nil && proto.GetExtension(o, annotations.E_Sensitive).(bool)
}
