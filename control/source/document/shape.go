package document

import (
	"math"
	"slices"
)

// Type is the type of a value in terms of YAML.
type Type uint8

// Types.
const (
	Any Type = iota
	Object
	List
	Map
	String
	Bool
	Int
	Float
	Duration // "1.5s", "250ms"
	Enum
	Bytes // base64
	IntOrString
	Time // RFC 3339
)

// Shape says what a value may look like. Shapes are immutable once built and
// may be shared and recursive.
type Shape struct {
	Type Type
	// Fields of an Object.
	Fields []Field
	// Elem of a List or Map.
	Elem *Shape
	// Min and Max bound an Int.
	Min, Max int64
	// IntKeys: the keys of the Map are numbers within [0, 65535] (ports).
	IntKeys bool
	// Values of an Enum.
	Values []string
	// OneOf are groups of Fields of which at most one may be set.
	OneOf [][]string
}

// Field is a named part of an Object.
type Field struct {
	Name  string
	Shape *Shape
	Rule  Rule
}

// Rule adds to what a field's type says.
type Rule struct {
	// Min and Max bound an Int when Max is not 0.
	Min, Max int64
	// Refuse, when set, says why an object that uses the field is refused.
	Refuse string
	// Ignore, when set, says why the field has no effect; a Warning.
	Ignore string
	// Quiet fields have no effect here and need no word about it.
	Quiet bool
}

// Rules are keyed by "Message.field", e.g. "HTTPMatchRequest.port".
type Rules map[string]Rule

// Port is the rule of a port number.
var Port = Rule{Min: 1, Max: math.MaxUint16}

// field returns the field of that name, or nil.
func (s *Shape) field(name string) *Field {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return &s.Fields[i]
		}
	}
	return nil
}

// zero is a value of the shape that says nothing.
func (s *Shape) zero() any {
	switch s.Type {
	case Object, Map:
		return map[string]any{}
	case List:
		return []any{}
	case Bool:
		return false
	case Int, Float, IntOrString:
		return 0
	case Enum:
		return s.Values[0]
	case Duration:
		return "0s"
	case Time:
		return "1970-01-01T00:00:00Z"
	default:
		return ""
	}
}

// names lists the fields' names.
func (s *Shape) names() []string {
	out := make([]string, len(s.Fields))
	for i := range s.Fields {
		out[i] = s.Fields[i].Name
	}
	return out
}

// bounded returns the shape of a field under a rule.
func bounded(s *Shape, r Rule) *Shape {
	if r.Max == 0 {
		return s
	}
	c := *s
	if s.Type == List || s.Type == Map {
		c.Elem = bounded(s.Elem, r)
		return &c
	}
	c.Min, c.Max = r.Min, r.Max
	return &c
}

// Resource returns the shape of a whole document whose parts besides
// apiVersion, kind and metadata are given.
func Resource(parts ...Field) *Shape {
	str := &Shape{Type: String}
	fields := []Field{
		{Name: "apiVersion", Shape: str},
		{Name: "kind", Shape: str},
		{Name: "metadata", Shape: metadataShape()},
	}
	return &Shape{Type: Object, Fields: append(fields, parts...)}
}

// Spec returns the shape of a document of a resource with a spec and a status;
// what is written in status is of no interest here.
func Spec(spec *Shape) *Shape {
	return Resource(
		Field{Name: "spec", Shape: spec},
		Field{Name: "status", Shape: &Shape{Type: Any}, Rule: Rule{Quiet: true}},
	)
}

// Unused returns the rules that no field of the shapes has: misspelt ones.
func (r Rules) Unused(used map[string]bool) []string {
	var out []string
	for name := range r {
		if !used[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
