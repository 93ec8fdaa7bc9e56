package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Separator stands between the parts of a path.
const Separator = ">"

// Form is what a node gets, flat: a text for each path that says something, and the
// order of lists in which it matters.
type Form struct {
	leaves map[string]string
	order  map[string][]string
	// used are the rules that had something to do.
	used map[protoreflect.FullName]bool
}

func empty() *Form {
	return &Form{leaves: map[string]string{}, order: map[string][]string{}, used: map[protoreflect.FullName]bool{}}
}

// NewForm brings resources to their semantic form. It fails where one holds a message
// of a type that the package does not know.
func NewForm(r *Resources) (*Form, error) {
	f := empty()
	for _, x := range r.Listeners {
		key, _, err := whole(x.GetAddress().ProtoReflect())
		if err != nil {
			return nil, err
		}
		if err := f.resource("listener", key, x); err != nil {
			return nil, err
		}
	}
	for _, x := range r.Routes {
		if err := f.resource("route", x.GetName(), x); err != nil {
			return nil, err
		}
	}
	for _, x := range r.Clusters {
		if err := f.resource("cluster", x.GetName(), x); err != nil {
			return nil, err
		}
	}
	for _, x := range r.Endpoints {
		if err := f.resource("endpoint", x.GetClusterName(), x); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *Form) resource(kind, name string, m proto.Message) error {
	at := join(kind, name)
	if _, twice := f.leaves[at]; twice {
		return fmt.Errorf("%s comes twice", at)
	}
	f.leaves[at] = "is there"
	if err := f.message(at, m.ProtoReflect()); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return nil
}

// join puts a part behind a path.
func join(path, part string) string {
	part = strings.ReplaceAll(part, Separator, "›")
	if path == "" {
		return part
	}
	return path + Separator + part
}

// message writes the fields of a message below a path.
func (f *Form) message(at string, m protoreflect.Message) (err error) {
	rewrite(m.Interface())
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		err = f.field(at, fd, v)
		return err == nil
	})
	if len(m.GetUnknown()) > 0 {
		f.leaves[join(at, "@unknown")] = fmt.Sprintf("%x", m.GetUnknown())
	}
	return err
}

func (f *Form) field(at string, fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	rule := rules[fd.FullName()]
	at = join(at, string(fd.Name()))
	switch {
	case rule.do == drop:
		f.used[fd.FullName()] = true
		return nil
	case fd.IsMap():
		return f.entries(at, fd, v.Map())
	case fd.IsList():
		return f.list(at, fd, v.List())
	case rule.do == unset:
		text, err := f.text(fd, v)
		if err == nil && text == rule.arg {
			f.used[fd.FullName()] = true
			return nil
		}
	}
	return f.value(at, fd, v)
}

// value writes one value.
func (f *Form) value(at string, fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	if fd.Message() == nil {
		f.leaves[at] = scalar(fd, v)
		return nil
	}
	if isLogic(fd.Message()) {
		e, err := f.logic(v.Message())
		f.leaves[at] = e.String()
		return err
	}
	if text, ok, err := whole(v.Message()); err != nil || ok {
		f.leaves[at] = text
		return err
	}
	before := len(f.leaves)
	var err error
	if v.Message().Descriptor().FullName() == anyName {
		err = f.packed(at, v.Message())
	} else {
		err = f.message(at, v.Message())
	}
	if len(f.leaves) == before {
		f.leaves[at] = "{}"
	}
	return err
}

// text is a value as one text.
func (f *Form) text(fd protoreflect.FieldDescriptor, v protoreflect.Value) (string, error) {
	part := empty()
	if err := part.value("", fd, v); err != nil {
		return "", err
	}
	maps.Copy(f.used, part.used)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(part.leaves)) {
		if k == "" {
			out = append(out, part.leaves[k])
		} else {
			out = append(out, k+"="+part.leaves[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(part.order)) {
		out = append(out, k+" in order "+strings.Join(part.order[k], " "))
	}
	return strings.Join(out, ", "), nil
}

func scalar(fd protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch fd.Kind() {
	case protoreflect.EnumKind:
		if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
		return strconv.Itoa(int(v.Enum()))
	case protoreflect.BytesKind:
		return string(v.Bytes())
	}
	return v.String()
}

func (f *Form) entries(at string, fd protoreflect.FieldDescriptor, m protoreflect.Map) (err error) {
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		err = f.value(join(at, k.String()), fd.MapValue(), v)
		return err == nil
	})
	return err
}

// list writes the elements of a list, by their keys where a rule gives them some, by
// their number otherwise.
func (f *Form) list(at string, fd protoreflect.FieldDescriptor, l protoreflect.List) error {
	rule := rules[fd.FullName()]
	if isLogic(fd.Message()) {
		e, err := f.logicList("or", l) // a policy's permissions, and its principals
		f.leaves[at] = e.String()
		return err
	}
	seen := map[string]int{}
	var keys []string
	for i := range l.Len() {
		key := strconv.Itoa(i)
		if rule.do == keyed || rule.do == set {
			f.used[fd.FullName()] = true
			var err error
			if key, err = f.key(rule.arg, fd, l.Get(i)); err != nil {
				return err
			}
			if seen[key]++; seen[key] > 1 {
				key += " #" + strconv.Itoa(seen[key])
			}
			keys = append(keys, key)
		}
		if err := f.value(join(at, key), fd, l.Get(i)); err != nil {
			return err
		}
	}
	if rule.do == keyed {
		f.order[at] = keys
	}
	return nil
}

// key is what an element of a list goes by: the text of some of its fields, or of the whole.
func (f *Form) key(fields string, fd protoreflect.FieldDescriptor, v protoreflect.Value) (string, error) {
	if fields == "" {
		return f.text(fd, v)
	}
	var out []string
	for _, path := range strings.Split(fields, " ") {
		m, text := v.Message(), ""
		names := strings.Split(path, ".")
		for i, name := range names {
			field := m.Descriptor().Fields().ByName(protoreflect.Name(name))
			if field == nil {
				return "", fmt.Errorf("the rule of %s names the field %s, which is not in %s", fd.FullName(), name, m.Descriptor().FullName())
			}
			if !m.Has(field) {
				break
			}
			if i < len(names)-1 {
				m = m.Get(field).Message()
				continue
			}
			list, one := m.Get(field), []protoreflect.Value{m.Get(field)}
			if field.IsList() {
				one = nil
				for i := range list.List().Len() {
					one = append(one, list.List().Get(i))
				}
			}
			for _, v := range one {
				part, err := f.text(field, v)
				if err != nil {
					return "", err
				}
				text += part
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, " "), nil
}
