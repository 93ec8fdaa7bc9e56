// Package strict refuses protobuf messages that set a field which their reader
// does not support. A reader lists what it supports; everything else that is
// populated, and every field unknown to this build, is an error that names its path. So nothing is
// ever ignored in silence.
//
// It looks into google.protobuf.Any; messages of google.protobuf itself
// (Duration, wrappers, Struct) are values, not messages. It does not check
// what supported fields hold, except where a Table demands one value.
package strict

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
)

// Table lists the supported fields by message name, separated by white space:
//
//	name         supported
//	name=value   supported when it has that value (booleans, numbers, enums, their wrappers)
//	name~        supported, and not looked into
//
// A message that is not in the Table is refused as a whole.
type Table map[protoreflect.FullName]string

// rule is what is known of one field.
type rule struct {
	value  string // demanded value, "" any
	opaque bool
}

// Checker is a compiled Table. Safe for concurrent use.
type Checker struct {
	table    Table
	messages map[protoreflect.FullName]map[protoreflect.Name]rule
}

// New compiles tables; a message may be in one of them only.
func New(tables ...Table) (*Checker, error) {
	c := &Checker{table: Table{}, messages: map[protoreflect.FullName]map[protoreflect.Name]rule{}}
	for _, t := range tables {
		for name, fields := range t {
			if _, twice := c.messages[name]; twice {
				return nil, fmt.Errorf("strict: %s is in two tables", name)
			}
			rules := map[protoreflect.Name]rule{}
			for _, f := range strings.Fields(fields) {
				field, value, _ := strings.Cut(f, "=")
				field, opaque := strings.CutSuffix(field, "~")
				rules[protoreflect.Name(field)] = rule{value, opaque}
			}
			c.table[name] = fields
			c.messages[name] = rules
		}
	}
	return c, nil
}

// Verify checks the Table itself against the messages linked in: a name that
// is misspelt would refuse what is meant to be supported.
func (c *Checker) Verify() error {
	var errs []error
	for name, rules := range c.messages {
		mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: not linked in", name))
			continue
		}
		for f := range rules {
			if mt.Descriptor().Fields().ByName(f) == nil {
				errs = append(errs, fmt.Errorf("%s has no field %s", name, f))
			}
		}
	}
	return errors.Join(errs...)
}

// Feature is the support of one message, for people to read.
type Feature struct {
	Message     string   `json:"message"`
	Fields      []string `json:"fields"`
	Unsupported []string `json:"unsupported,omitempty"`
}

// Features lists the Table by message name, with what each message lacks.
func (c *Checker) Features() []Feature {
	var out []Feature
	for _, name := range slices.Sorted(maps.Keys(c.table)) {
		f := Feature{Message: string(name), Fields: strings.Fields(strings.ReplaceAll(c.table[name], "~", ""))}
		if mt, err := protoregistry.GlobalTypes.FindMessageByName(name); err == nil {
			fields := mt.Descriptor().Fields()
			for i := range fields.Len() {
				if _, ok := c.messages[name][fields.Get(i).Name()]; !ok {
					f.Unsupported = append(f.Unsupported, string(fields.Get(i).Name()))
				}
			}
		}
		out = append(out, f)
	}
	return out
}

// maxErrors bounds the length of an error.
const maxErrors = 8

// Check returns an error that names the paths of all unsupported fields of m.
func (c *Checker) Check(m proto.Message) error {
	w := walker{c: c}
	w.message("", m.ProtoReflect())
	if len(w.errs) > maxErrors {
		w.errs = append(w.errs[:maxErrors], fmt.Sprintf("and %d more", len(w.errs)-maxErrors))
	}
	if len(w.errs) == 0 {
		return nil
	}
	return errors.New(strings.Join(w.errs, "; "))
}

type walker struct {
	c    *Checker
	errs []string
}

func (w *walker) refuse(path, why string) {
	if path == "" {
		path = "(message)"
	}
	w.errs = append(w.errs, path+": "+why)
}

func join(path string, f protoreflect.Name) string {
	if path == "" {
		return string(f)
	}
	return path + "." + string(f)
}

func (w *walker) message(path string, m protoreflect.Message) {
	name := m.Descriptor().FullName()
	if name == "google.protobuf.Any" {
		w.any(path, m.Interface())
		return
	}
	if name.Parent() == "google.protobuf" {
		return
	}
	rules, ok := w.c.messages[name]
	if !ok {
		w.refuse(path, string(name)+" is not supported")
		return
	}
	if len(m.GetUnknown()) > 0 {
		w.refuse(path, string(name)+" has a field that this version does not know")
	}
	var set []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		set = append(set, f)
		return true
	})
	slices.SortFunc(set, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	for _, f := range set {
		w.field(join(path, f.Name()), f, m.Get(f), rules)
	}
}

func (w *walker) field(path string, f protoreflect.FieldDescriptor, v protoreflect.Value, rules map[protoreflect.Name]rule) {
	r, ok := rules[f.Name()]
	switch {
	case !ok:
		w.refuse(path, "not supported")
	case r.value != "":
		if got := text(f, v); got != r.value {
			w.refuse(path, got+" is not supported, only "+r.value)
		}
	case r.opaque:
	case f.IsMap():
		if f.MapValue().Kind() == protoreflect.MessageKind {
			w.mapValues(path, v.Map())
		}
	case f.Kind() != protoreflect.MessageKind:
	case f.IsList():
		for i := range v.List().Len() {
			w.message(path+"["+strconv.Itoa(i)+"]", v.List().Get(i).Message())
		}
	default:
		w.message(path, v.Message())
	}
}

func (w *walker) mapValues(path string, m protoreflect.Map) {
	keys := map[string]protoreflect.Value{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		keys[k.String()] = v
		return true
	})
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		w.message(path+"["+strconv.Quote(k)+"]", keys[k].Message())
	}
}

func (w *walker) any(path string, m proto.Message) {
	a, ok := m.(*anypb.Any)
	if !ok || a.TypeUrl == "" {
		return
	}
	inner, err := a.UnmarshalNew()
	switch {
	case errors.Is(err, protoregistry.NotFound):
		w.refuse(path, a.TypeUrl+" is not supported")
	case err != nil:
		w.refuse(path, a.TypeUrl+" does not decode: "+err.Error())
	default:
		w.message(path, inner.ProtoReflect())
	}
}

// text is a value as the Table writes it.
func text(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.EnumKind:
		if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name())
		}
	case protoreflect.MessageKind:
		if f.IsList() {
			return "a list"
		}
		m := v.Message()
		if value := m.Descriptor().Fields().ByName("value"); value != nil && m.Descriptor().FullName().Parent() == "google.protobuf" {
			return text(value, m.Get(value))
		}
		return "a message"
	}
	return v.String()
}
