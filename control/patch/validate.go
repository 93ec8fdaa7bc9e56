package patch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/envoyproxy/protoc-gen-validate/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// invalid is what is wrong with a field.
type invalid struct{ path, text string }

// Error implements error.
func (e *invalid) Error() string {
	if e.path == "" {
		return e.text
	}
	return e.path + " " + e.text
}

func wrong(path, format string, args ...any) error {
	return &invalid{path, fmt.Sprintf(format, args...)}
}

// validate checks a message, and those inside of Anys, by the rules that Envoy's API
// declares (protoc-gen-validate), as Envoy does when it reads it. It reads the rules
// from descriptors, so that it does for types that are not linked as well.
func validateMessage(path string, m protoreflect.Message) error {
	if a, ok := m.Interface().(*anypb.Any); ok {
		return validateAny(path, a.GetTypeUrl(), a.GetValue())
	}
	d := m.Descriptor()
	if d.FullName() == "google.protobuf.Any" { // of a type that is not linked
		fields := d.Fields()
		return validateAny(path, m.Get(fields.ByName("type_url")).String(), m.Get(fields.ByName("value")).Bytes())
	}
	if o := d.Options(); proto.HasExtension(o, validate.E_Disabled) && proto.GetExtension(o, validate.E_Disabled).(bool) {
		return nil
	}
	for i := range d.Fields().Len() {
		if err := validateField(path, m, d.Fields().Get(i)); err != nil {
			return err
		}
	}
	for i := range d.Oneofs().Len() {
		o := d.Oneofs().Get(i)
		if o.IsSynthetic() || m.WhichOneof(o) != nil {
			continue
		}
		if opts := o.Options(); proto.HasExtension(opts, validate.E_Required) && proto.GetExtension(opts, validate.E_Required).(bool) {
			return wrong(path, "has none of %s", oneOf(o))
		}
	}
	return nil
}

func oneOf(o protoreflect.OneofDescriptor) string {
	out := ""
	for i := range o.Fields().Len() {
		if i > 0 {
			out += ", "
		}
		out += string(o.Fields().Get(i).Name())
	}
	return out
}

func validateAny(path, url string, raw []byte) error {
	if url == "" {
		return nil // a rule says when that is wrong
	}
	mt, err := envoy.FindMessageByURL(url)
	if err != nil {
		return nil // whoever reads JSON has said so
	}
	m := mt.New()
	if err := (proto.UnmarshalOptions{Resolver: envoy}).Unmarshal(raw, m.Interface()); err != nil {
		return wrong(path, "cannot be read as %s: %v", url, err)
	}
	return validateMessage(path, m)
}

func join(path string, fd protoreflect.FieldDescriptor) string {
	if path == "" {
		return string(fd.Name())
	}
	return path + "." + string(fd.Name())
}

func validateField(path string, m protoreflect.Message, fd protoreflect.FieldDescriptor) error {
	var rules *validate.FieldRules
	if o := fd.Options(); proto.HasExtension(o, validate.E_Rules) {
		rules = proto.GetExtension(o, validate.E_Rules).(*validate.FieldRules)
	}
	at := join(path, fd)
	v := m.Get(fd)
	switch {
	case fd.IsList():
		return validateList(at, v.List(), fd, rules.GetRepeated())
	case fd.IsMap():
		return validateMap(at, v.Map(), fd, rules.GetMap())
	case fd.Message() != nil:
		if !m.Has(fd) {
			if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
				return nil // another may be there instead
			}
			if rules.GetMessage().GetRequired() || rules.GetAny().GetRequired() || rules.GetDuration().GetRequired() || rules.GetTimestamp().GetRequired() {
				return wrong(at, "is missing")
			}
			return nil
		}
	case fd.HasPresence() && !m.Has(fd):
		return nil
	}
	return validateValue(at, v, fd, rules)
}

// wrapped are the messages whose rules are those of the value in them.
func wrapped(d protoreflect.MessageDescriptor) bool {
	return d.ParentFile().Path() == "google/protobuf/wrappers.proto"
}

// validateValue checks a single value: a field's, an element's.
func validateValue(at string, v protoreflect.Value, fd protoreflect.FieldDescriptor, rules *validate.FieldRules) error {
	if fd.Message() == nil {
		return validateScalar(at, v, fd, rules)
	}
	m := v.Message()
	switch {
	case wrapped(fd.Message()):
		inner := fd.Message().Fields().ByName("value")
		return validateScalar(at, m.Get(inner), inner, rules)
	case rules.GetDuration() != nil:
		return validateDuration(at, m, rules.GetDuration())
	case rules.GetAny() != nil && fd.Message().FullName() == "google.protobuf.Any": // Envoy has such rules elsewhere, too
		url := m.Get(m.Descriptor().Fields().ByName("type_url")).String()
		if in := rules.GetAny().GetIn(); len(in) > 0 && !slices.Contains(in, url) || slices.Contains(rules.GetAny().GetNotIn(), url) {
			return wrong(at, "must not have the type %s", url)
		}
	case rules.GetMessage().GetSkip():
		return nil
	}
	return validateMessage(at, m)
}

func validateList(at string, l protoreflect.List, fd protoreflect.FieldDescriptor, rules *validate.RepeatedRules) error {
	n := uint64(l.Len()) //nolint:gosec // a length
	if rules.GetIgnoreEmpty() && n == 0 {
		return nil
	}
	if rules != nil {
		if err := sized(at, "entries", n, rules.MinItems, rules.MaxItems); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for i := range l.Len() {
		each := at + "[" + strconv.Itoa(i) + "]"
		if rules.GetUnique() {
			text := l.Get(i).String()
			if seen[text] {
				return wrong(each, "is there twice")
			}
			seen[text] = true
		}
		if err := validateValue(each, l.Get(i), fd, rules.GetItems()); err != nil {
			return err
		}
	}
	return nil
}

func validateMap(at string, m protoreflect.Map, fd protoreflect.FieldDescriptor, rules *validate.MapRules) error {
	n := uint64(m.Len()) //nolint:gosec // a length
	if rules.GetIgnoreEmpty() && n == 0 {
		return nil
	}
	if rules != nil {
		if err := sized(at, "entries", n, rules.MinPairs, rules.MaxPairs); err != nil {
			return err
		}
	}
	// In order, so that the same fault is named every time.
	keys := make([]protoreflect.MapKey, 0, m.Len())
	m.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		keys = append(keys, k)
		return true
	})
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return compareText(a.String(), b.String()) })
	for _, k := range keys {
		each := at + "[" + strconv.Quote(k.String()) + "]"
		if err := validateScalar(each, k.Value(), fd.MapKey(), rules.GetKeys()); err != nil {
			return err
		}
		if err := validateValue(each, m.Get(k), fd.MapValue(), rules.GetValues()); err != nil {
			return err
		}
	}
	return nil
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// sized checks a length.
func sized(at, what string, n uint64, least, most *uint64) error {
	switch {
	case least != nil && n < *least:
		return wrong(at, "must have at least %d %s", *least, what)
	case most != nil && n > *most:
		return wrong(at, "must have at most %d %s", *most, what)
	}
	return nil
}

// textOf is what an error says.
func textOf(err error) string {
	var v *invalid
	if errors.As(err, &v) {
		return v.Error()
	}
	return err.Error()
}
