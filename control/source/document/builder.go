package document

import (
	"math"
	"reflect"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Builder makes Shapes of protobuf messages and Go types. It is for one
// goroutine; the Shapes are for all.
type Builder struct {
	Rules Rules
	// Used collects the rules that were applied.
	Used map[string]bool

	messages map[protoreflect.FullName]*Shape
	types    map[reflect.Type]*Shape
}

// NewBuilder returns a Builder that applies the rules.
func NewBuilder(rules Rules) *Builder {
	return &Builder{
		Rules: rules, Used: map[string]bool{},
		messages: map[protoreflect.FullName]*Shape{}, types: map[reflect.Type]*Shape{},
	}
}

func (b *Builder) rule(owner, field string) Rule {
	name := owner + "." + field
	r, ok := b.Rules[name]
	if ok {
		b.Used[name] = true
	}
	return r
}

// Message returns the shape of a message's JSON form.
func (b *Builder) Message(md protoreflect.MessageDescriptor) *Shape {
	if s := wellKnown(md.FullName()); s != nil {
		return s
	}
	if s := b.messages[md.FullName()]; s != nil {
		return s
	}
	s := &Shape{Type: Object}
	b.messages[md.FullName()] = s
	owner := strings.TrimPrefix(string(md.FullName()), string(md.ParentFile().Package())+".")
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		r := b.rule(owner, fd.JSONName())
		s.Fields = append(s.Fields, Field{Name: fd.JSONName(), Shape: bounded(b.protoField(fd), r), Rule: r})
	}
	for i := range md.Oneofs().Len() {
		od := md.Oneofs().Get(i)
		if od.IsSynthetic() {
			continue
		}
		group := make([]string, od.Fields().Len())
		for j := range group {
			group[j] = od.Fields().Get(j).JSONName()
		}
		s.OneOf = append(s.OneOf, group)
	}
	return s
}

func (b *Builder) protoField(fd protoreflect.FieldDescriptor) *Shape {
	switch {
	case fd.IsMap():
		k := fd.MapKey().Kind()
		return &Shape{Type: Map, Elem: b.protoValue(fd.MapValue()), IntKeys: k != protoreflect.StringKind}
	case fd.IsList():
		return &Shape{Type: List, Elem: b.protoValue(fd)}
	}
	return b.protoValue(fd)
}

func (b *Builder) protoValue(fd protoreflect.FieldDescriptor) *Shape {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return b.Message(fd.Message())
	case protoreflect.EnumKind:
		s := &Shape{Type: Enum}
		for i := range fd.Enum().Values().Len() {
			s.Values = append(s.Values, string(fd.Enum().Values().Get(i).Name()))
		}
		return s
	case protoreflect.BoolKind:
		return &Shape{Type: Bool}
	case protoreflect.StringKind:
		return &Shape{Type: String}
	case protoreflect.BytesKind:
		return &Shape{Type: Bytes}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return &Shape{Type: Float}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return &Shape{Type: Int, Min: math.MinInt32, Max: math.MaxInt32}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return &Shape{Type: Int, Max: math.MaxUint32}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return &Shape{Type: Int, Max: math.MaxInt64}
	default:
		return &Shape{Type: Int, Min: math.MinInt64, Max: math.MaxInt64}
	}
}

// wellKnown returns the shape of the messages that JSON writes in a way of their own.
func wellKnown(name protoreflect.FullName) *Shape {
	switch name {
	case "google.protobuf.Duration":
		return &Shape{Type: Duration}
	case "google.protobuf.Timestamp":
		return &Shape{Type: Time}
	case "google.protobuf.BoolValue":
		return &Shape{Type: Bool}
	case "google.protobuf.Int32Value":
		return &Shape{Type: Int, Min: math.MinInt32, Max: math.MaxInt32}
	case "google.protobuf.UInt32Value":
		return &Shape{Type: Int, Max: math.MaxUint32}
	case "google.protobuf.Int64Value":
		return &Shape{Type: Int, Min: math.MinInt64, Max: math.MaxInt64}
	case "google.protobuf.DoubleValue":
		return &Shape{Type: Float}
	case "google.protobuf.Struct", "google.protobuf.Value":
		return &Shape{Type: Any}
	}
	return nil
}

// GoType returns the shape of what encoding/json makes of a type.
func (b *Builder) GoType(t reflect.Type) *Shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.String() {
	case "intstr.IntOrString":
		return &Shape{Type: IntOrString, Max: math.MaxInt32}
	case "protocol.Value":
		return &Shape{Type: Any}
	case "v1.Time", "v1.MicroTime":
		return &Shape{Type: Time}
	case "resource.Quantity", "v1.FieldsV1", "runtime.RawExtension":
		return &Shape{Type: Any}
	}
	switch t.Kind() {
	case reflect.String:
		return &Shape{Type: String}
	case reflect.Bool:
		return &Shape{Type: Bool}
	case reflect.Int32:
		return &Shape{Type: Int, Min: math.MinInt32, Max: math.MaxInt32}
	case reflect.Int, reflect.Int64:
		return &Shape{Type: Int, Min: math.MinInt64, Max: math.MaxInt64}
	case reflect.Uint16:
		return &Shape{Type: Int, Max: math.MaxUint16}
	case reflect.Float32, reflect.Float64:
		return &Shape{Type: Float}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &Shape{Type: Bytes}
		}
		return &Shape{Type: List, Elem: b.GoType(t.Elem())}
	case reflect.Map:
		return &Shape{Type: Map, Elem: b.GoType(t.Elem())}
	case reflect.Struct:
		return b.goStruct(t)
	}
	return &Shape{Type: Any}
}

func (b *Builder) goStruct(t reflect.Type) *Shape {
	if s := b.types[t]; s != nil {
		return s
	}
	s := &Shape{Type: Object}
	b.types[t] = s
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && (name == "" || strings.Contains(opts, "inline")) {
			s.Fields = append(s.Fields, b.GoType(f.Type).Fields...)
			continue
		}
		if name == "" || name == "-" || !f.IsExported() {
			continue
		}
		r := b.rule(t.Name(), name)
		s.Fields = append(s.Fields, Field{Name: name, Shape: bounded(b.GoType(f.Type), r), Rule: r})
	}
	return s
}
