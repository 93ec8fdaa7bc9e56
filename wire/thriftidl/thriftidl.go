// Package thriftidl says how a Thrift service is called with JSON: a Mapping, as the resource Transcoding
// has it, which both planes check, and a reader of Thrift's IDL, whose files are the one notation in which every
// user of Thrift has the numbers and types of fields already.
//
// An IDL is one text: include is refused by name. Constants and annotations are passed over; defaults
// are left to servers. Texts nest 64 deep at most.
package thriftidl

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Mapping is what has to be known of a port that speaks Thrift.
type Mapping struct {
	// IDL holds the services that the port serves, and their types. Required.
	IDL string `json:"idl"`
	// Transport is framed (default), unframed or header.
	Transport string `json:"transport,omitempty"`
	// Protocol is binary (default) or compact.
	Protocol string `json:"protocol,omitempty"`
	// Multiplexed servers take "service:method" for a method's name.
	Multiplexed bool `json:"multiplexed,omitempty"`
	// ExceptionStatus is the HTTP status of exceptions by their types' names; others are 500.
	ExceptionStatus map[string]int32 `json:"exceptionStatus,omitempty"`
}

// What a Mapping may say.
var (
	Transports = []string{"framed", "unframed", "header"}
	Protocols  = []string{"binary", "compact"}
)

// Problem is what is wrong with a Mapping.
type Problem struct {
	// Field is its path in the Mapping.
	Field, Message, Remedy string
}

// Check reads the IDL, and tells all that is wrong.
func (m *Mapping) Check() (*File, []Problem) {
	var out []Problem
	add := func(field, remedy, format string, args ...any) {
		out = append(out, Problem{field, fmt.Sprintf(format, args...), remedy})
	}
	one := func(field, value string, of []string) {
		if value != "" && !slices.Contains(of, value) {
			add(field, "write "+strings.Join(of, ", ")+", or nothing for the first", "%q is not known", value)
		}
	}
	one("transport", m.Transport, Transports)
	one("protocol", m.Protocol, Protocols)
	file, err := Parse(m.IDL)
	if err != nil {
		add("idl", "correct the IDL", "%v", err)
		return nil, out
	}
	thrown := map[string]bool{}
	for _, s := range file.Services {
		for _, x := range s.Methods {
			for _, f := range x.Throws {
				if f.Type.Struct == nil {
					add("idl", "let it throw exceptions", "%s.%s throws what is no exception", s.Name, x.Name)
					continue
				}
				thrown[f.Type.Struct.Name] = true
			}
		}
	}
	for name, status := range m.ExceptionStatus {
		if !thrown[name] {
			add("exceptionStatus."+name, "name an exception that a method throws", "no method throws %q", name)
		}
		if status < http.StatusOK || status > 599 {
			add("exceptionStatus."+name, "write a status from 200 to 599", "%d is no status", status)
		}
	}
	return file, out
}

// Read reads a Mapping from JSON, as it goes over the wire.
func Read(text []byte) (*Mapping, *File, error) {
	m := &Mapping{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, nil, err
	}
	f, bad := m.Check()
	if len(bad) > 0 {
		return nil, nil, fmt.Errorf("%s: %s", bad[0].Field, bad[0].Message)
	}
	return m, f, nil
}

// File is an IDL: its services by their names.
type File struct{ Services map[string]*Service }

// Service is one, with the methods that it inherits.
type Service struct {
	Name    string
	Methods map[string]*Method
}

// Method is a function of a service.
type Method struct {
	Name   string
	OneWay bool
	Args   *Struct
	// Result is nil for void.
	Result *Type
	Throws []Field
}

// Struct is a struct, a union or an exception, or the arguments of a method.
type Struct struct {
	Name   string
	Union  bool
	Fields []Field
}

// Field is one of a Struct's.
type Field struct {
	ID       int16
	Name     string
	Required bool
	Type     *Type
}

// Enum is an enumeration; Names has the first name of each number.
type Enum struct {
	Name    string
	Numbers map[string]int32
	Names   map[int32]string
}

// Kind is what a type is.
type Kind uint8

// Kinds. The zero Kind is none.
const (
	Bool Kind = iota + 1
	Byte
	I16
	I32
	I64
	Double
	String
	Binary
	UUID
	List
	Set
	Map
	StructKind
	EnumKind
)

var bases = map[string]Kind{
	"bool": Bool, "byte": Byte, "i8": Byte, "i16": I16, "i32": I32, "i64": I64, "double": Double, "string": String, "binary": Binary, "slist": String, "uuid": UUID,
}

// Type is a type, typedefs resolved.
type Type struct {
	Kind Kind
	// Key is a map's, Elem a map's, list's or set's.
	Key, Elem *Type
	Struct    *Struct
	Enum      *Enum

	name word // of what it is defined as elsewhere
}
