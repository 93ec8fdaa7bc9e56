package transcode

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// builder makes the messages of one request.
type builder struct {
	rule     *rule
	types    *dynamicpb.Types
	anyCase  bool // of the names of enums
	strict   bool // a field of both path and body must have one value
	bindings []bound
}

// bound is a field and the text that it gets.
type bound struct {
	path []protoreflect.FieldDescriptor
	text string
}

// query takes in the parameters of a URL. ignored tells which are nobody's; errors name the parameter.
func (b *builder) query(raw string, c *config) error {
	for pair := range strings.SplitSeq(raw, "&") {
		name, text, _ := strings.Cut(pair, "=")
		if name == "" || c.ignored[name] {
			continue
		}
		if c.plus {
			text = strings.ReplaceAll(text, "+", " ")
		}
		path, err := fieldPath(b.rule.method.Input(), unescape(name, ""))
		if err != nil {
			if c.ignoreUnknown {
				continue
			}
			return err
		}
		b.bindings = append(b.bindings, bound{path, unescape(text, "")})
	}
	return nil
}

// frameHead is a flag and the length of a message.
const frameHead = 5

// build is the gRPC frame of a message with this body. Bindings are of the first message only.
func (b *builder) build(body []byte, kind string, first bool) ([]byte, error) {
	part := dynamicpb.NewMessage(b.rule.method.Input())
	if b.rule.body != "" && (len(body) > 0 || b.raw() != nil) {
		if err := b.read(part, body, kind, first); err != nil {
			return nil, err
		}
	}
	if first {
		for _, x := range b.bindings {
			if err := b.bind(part, x); err != nil {
				return nil, err
			}
		}
	}
	return frame(part)
}

// bind sets what the URL says, unless the body has said it.
func (b *builder) bind(m protoreflect.Message, x bound) error {
	at, last := m, x.path[len(x.path)-1]
	for _, f := range x.path[:len(x.path)-1] {
		at = at.Get(f).Message()
	}
	if last.IsList() || !at.Has(last) {
		return b.set(m, x.path, x.text)
	}
	if !b.strict {
		return nil
	}
	v, err := b.value(last, func() protoreflect.Value { return at.NewField(last) }, x.text)
	if err == nil && !v.Equal(at.Get(last)) {
		err = fmt.Errorf("the value of %q in the body is another than that of the URL", last.Name())
	}
	return err
}

// frame is a message with its head.
func frame(m proto.Message) ([]byte, error) {
	out, err := proto.MarshalOptions{AllowPartial: true, Deterministic: true}.MarshalAppend(make([]byte, frameHead), m)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(out[1:], uint32(len(out)-frameHead)) //nolint:gosec // bounded by the body
	return out, nil
}

// raw is the message in the body's place when it takes bytes as they are (google.api.HttpBody).
func (b *builder) raw() protoreflect.MessageDescriptor {
	d := b.rule.method.Input()
	if f := b.rule.bodyIn; f != nil {
		if d = f.Message(); d == nil || f.IsList() || f.IsMap() {
			return nil
		}
	}
	if b.rule.body != "" && d.FullName() == httpBody {
		return d
	}
	return nil
}

func (b *builder) read(m *dynamicpb.Message, body []byte, kind string, first bool) error {
	if d := b.raw(); d != nil {
		into := protoreflect.Message(m)
		if b.rule.bodyIn != nil {
			into = m.Mutable(b.rule.bodyIn).Message()
		}
		if first && kind != "" {
			into.Set(d.Fields().ByName("content_type"), protoreflect.ValueOfString(kind))
		}
		into.Set(d.Fields().ByName("data"), protoreflect.ValueOfBytes(body))
		return nil
	}
	if f := b.rule.bodyIn; f != nil {
		body = append(append([]byte(`{"`+f.JSONName()+`":`), body...), '}')
	}
	if b.anyCase {
		var err error
		if body, err = spell(m.Descriptor(), body); err != nil {
			return err
		}
	}
	err := protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true, Resolver: b.types}.Unmarshal(body, m)
	if err != nil { // the package has its name before it, with a space or another
		return errors.New(strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0"))
	}
	return nil
}

// spell writes the names of enums as the proto file has them.
func spell(d protoreflect.MessageDescriptor, body []byte) ([]byte, error) {
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	respell(d, v)
	return json.Marshal(v)
}

func respell(d protoreflect.MessageDescriptor, v any) {
	fields, _ := v.(map[string]any)
	for name, x := range fields {
		path, err := fieldPath(d, name)
		if err != nil || strings.Contains(name, ".") {
			continue
		}
		fields[name] = respellValue(path[0], x)
	}
}

func respellValue(f protoreflect.FieldDescriptor, v any) any {
	switch x := v.(type) {
	case []any:
		for i := range x {
			x[i] = respellValue(f, x[i])
		}
	case string:
		if e := f.Enum(); e != nil {
			if n, err := (&builder{anyCase: true}).enum(e, x); err == nil {
				return n.Enum()
			}
		}
	case map[string]any:
		if f.IsMap() {
			for k := range x {
				x[k] = respellValue(f.MapValue(), x[k])
			}
		} else if f.Message() != nil {
			respell(f.Message(), x)
		}
	}
	return v
}
