package transcode

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fieldPath resolves "a.b.c", by the names of the proto file or of JSON.
func fieldPath(d protoreflect.MessageDescriptor, path string) ([]protoreflect.FieldDescriptor, error) {
	var list []protoreflect.FieldDescriptor
	for name := range strings.SplitSeq(path, ".") {
		if d == nil {
			return nil, fmt.Errorf("%q: %s is no message", path, list[len(list)-1].Name())
		}
		f := d.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			f = d.Fields().ByJSONName(name)
		}
		if f == nil {
			return nil, fmt.Errorf("Could not find field %q in the type %q.", name, d.FullName()) //nolint:staticcheck // clients read it
		}
		list = append(list, f)
		if d = f.Message(); f.IsMap() || f.IsList() {
			d = nil
		}
	}
	return list, nil
}

// set gives a field, which may lie deep, the value of a path or a query.
func (b *builder) set(m protoreflect.Message, path []protoreflect.FieldDescriptor, text string) error {
	last := path[len(path)-1]
	for _, f := range path[:len(path)-1] {
		m = m.Mutable(f).Message()
	}
	if last.IsMap() {
		return fmt.Errorf("%s is a map", last.Name())
	}
	if last.IsList() {
		list := m.Mutable(last).List()
		v, err := b.value(last, list.NewElement, text)
		if err == nil {
			list.Append(v)
		}
		return err
	}
	v, err := b.value(last, func() protoreflect.Value { return m.NewField(last) }, text)
	if err == nil {
		m.Set(last, v)
	}
	return err
}

// value reads a text as what a field holds.
func (b *builder) value(f protoreflect.FieldDescriptor, fresh func() protoreflect.Value, text string) (v protoreflect.Value, err error) {
	if f.Message() == nil {
		v, err = b.scalar(f, text)
	} else {
		v = fresh()
		err = b.message(v.Message(), text)
	}
	if err != nil {
		return v, fmt.Errorf("%s: invalid value %q for type %s", f.Name(), text, kindOf(f))
	}
	return v, nil
}

func kindOf(f protoreflect.FieldDescriptor) string {
	if f.Message() != nil {
		return string(f.Message().FullName())
	}
	return "TYPE_" + strings.ToUpper(f.Kind().String())
}

var errText = errors.New("not so written")

func (b *builder) scalar(f protoreflect.FieldDescriptor, text string) (v protoreflect.Value, err error) {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text), nil
	case protoreflect.BytesKind:
		text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
		raw, err := base64.RawStdEncoding.DecodeString(text)
		return protoreflect.ValueOfBytes(raw), err
	case protoreflect.BoolKind:
		if text != "true" && text != "false" {
			return v, errText
		}
		return protoreflect.ValueOfBool(text == "true"), nil
	case protoreflect.EnumKind:
		return b.enum(f.Enum(), text)
	case protoreflect.FloatKind:
		x, err := strconv.ParseFloat(text, 32)
		return protoreflect.ValueOfFloat32(float32(x)), err
	case protoreflect.DoubleKind:
		x, err := strconv.ParseFloat(text, 64)
		return protoreflect.ValueOfFloat64(x), err
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		x, err := strconv.ParseInt(text, 10, 32)
		return protoreflect.ValueOfInt32(int32(x)), err //nolint:gosec // ParseInt has seen to it
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		x, err := strconv.ParseUint(text, 10, 32)
		return protoreflect.ValueOfUint32(uint32(x)), err //nolint:gosec // so has ParseUint
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		x, err := strconv.ParseUint(text, 10, 64)
		return protoreflect.ValueOfUint64(x), err
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		x, err := strconv.ParseInt(text, 10, 64)
		return protoreflect.ValueOfInt64(x), err
	}
	return v, errText
}

func (b *builder) enum(d protoreflect.EnumDescriptor, text string) (v protoreflect.Value, err error) {
	if e := d.Values().ByName(protoreflect.Name(text)); e != nil {
		return protoreflect.ValueOfEnum(e.Number()), nil
	}
	if b.anyCase {
		for i := range d.Values().Len() {
			if e := d.Values().Get(i); strings.EqualFold(string(e.Name()), text) {
				return protoreflect.ValueOfEnum(e.Number()), nil
			}
		}
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), err
}

// message reads a message that JSON writes as a string or a number: a wrapper, a time, a
// duration, a field mask.
func (b *builder) message(m protoreflect.Message, text string) error {
	name := m.Descriptor().FullName()
	if name.Parent() != "google.protobuf" {
		return errText
	}
	if f := m.Descriptor().Fields().ByName("value"); f != nil && f.Message() == nil && f.Number() == 1 {
		v, err := b.scalar(f, text)
		if err == nil {
			m.Set(f, v)
		}
		return err
	}
	return protojson.Unmarshal([]byte(strconv.Quote(text)), m.Interface())
}
