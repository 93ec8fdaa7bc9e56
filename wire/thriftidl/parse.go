package thriftidl

import (
	"fmt"
	"strconv"
	"strings"
)

// parser is a descent through a list of words.
type parser struct {
	words []word
	i     int
	file  *File
	// named are the names of types, resolved when all are known.
	typedefs map[string]*Type
	structs  map[string]*Struct
	enums    map[string]*Enum
	named    []*Type
	extends  map[*Service]word
}

// word is a name, a number, a literal in quotes or a sign, and its line.
type word struct {
	text    string
	line    int
	literal bool
}

// fault is how a parse ends early.
type fault struct{ error }

func (p *parser) fail(w word, format string, args ...any) {
	panic(fault{fmt.Errorf("line %d: %s", w.line, fmt.Sprintf(format, args...))})
}

// Parse reads a Thrift IDL. Errors begin with the line.
func Parse(text string) (file *File, err error) {
	p := &parser{
		file: &File{Services: map[string]*Service{}}, typedefs: map[string]*Type{}, structs: map[string]*Struct{}, enums: map[string]*Enum{}, extends: map[*Service]word{},
	}
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(fault)
			if !ok {
				panic(r)
			}
			file, err = nil, f.error
		}
	}()
	p.split(text)
	for p.peek() != "" {
		p.definition()
	}
	p.resolve()
	if len(p.file.Services) == 0 {
		p.fail(word{line: 1}, "there is no service")
	}
	return p.file, nil
}

// split makes the words.
func (p *parser) split(s string) {
	line := 1
	for i := 0; i < len(s); {
		c := s[i]
		n := 1
		switch {
		case c == '\n':
			line++
		case c == ' ' || c == '\t' || c == '\r':
		case c == '#' || strings.HasPrefix(s[i:], "//"):
			n = len(s[i:])
			if end := strings.IndexByte(s[i:], '\n'); end >= 0 {
				n = end
			}
		case strings.HasPrefix(s[i:], "/*"):
			end := strings.Index(s[i+2:], "*/")
			if end < 0 {
				p.fail(word{line: line}, "a comment without an end")
			}
			n = end + 4
			line += strings.Count(s[i:i+n], "\n")
		case c == '"' || c == '\'':
			end := strings.IndexByte(s[i+1:], c)
			if end < 0 {
				p.fail(word{line: line}, "a text without an end")
			}
			n = end + 2
			p.words = append(p.words, word{s[i+1 : i+1+end], line, true})
			line += strings.Count(s[i:i+n], "\n")
		default:
			for i+n < len(s) && partOfWord(c) && partOfWord(s[i+n]) {
				n++
			}
			p.words = append(p.words, word{s[i : i+n], line, false})
		}
		i += n
	}
}

func partOfWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-' || c == '+'
}

// peek is the next word that is no literal, "" at the end and before a literal.
func (p *parser) peek() string {
	if p.i < len(p.words) && !p.words[p.i].literal {
		return p.words[p.i].text
	}
	return ""
}

func (p *parser) next() word {
	if p.i == len(p.words) {
		line := 1
		if p.i > 0 {
			line = p.words[p.i-1].line
		}
		p.fail(word{line: line}, "it ends too early")
	}
	p.i++
	return p.words[p.i-1]
}

// accept takes a word if it is the next.
func (p *parser) accept(text string) bool {
	if p.peek() != text {
		return false
	}
	p.i++
	return true
}

func (p *parser) expect(text string) {
	if w := p.next(); w.literal || w.text != text {
		p.fail(w, "want %q, got %q", text, w.text)
	}
}

func (p *parser) name() word {
	w := p.next()
	if c := w.text; w.literal || c == "" || !(c[0] >= 'a' && c[0] <= 'z' || c[0] >= 'A' && c[0] <= 'Z' || c[0] == '_') || strings.ContainsAny(c, "+-") {
		p.fail(w, "%q is no name", w.text)
	}
	return w
}

// separator may stand between items.
func (p *parser) separator() {
	if !p.accept(",") {
		p.accept(";")
	}
}

// annotations are passed over: "(key = 'value', …)".
func (p *parser) annotations() {
	if !p.accept("(") {
		return
	}
	for {
		if w := p.next(); !w.literal && w.text == ")" {
			return
		}
	}
}

// number reads an integer of some bits.
func (p *parser) number(bits int) int64 {
	w := p.next()
	n, err := strconv.ParseInt(w.text, 0, bits)
	if err != nil || w.literal {
		p.fail(w, "%q is no whole number of %d bits", w.text, bits)
	}
	return n
}

func (p *parser) definition() {
	w := p.name()
	switch w.text {
	case "namespace":
		p.next()
		p.next()
		p.annotations()
	case "include":
		p.fail(w, "include has no effect here: put the text of %q in its place, without its prefix", p.next().text)
	case "cpp_include":
		p.next()
	case "typedef":
		t := p.typ()
		name := p.name()
		p.declare(name)
		p.typedefs[name.text] = t
		p.annotations()
	case "const":
		p.typ()
		p.name()
		p.expect("=")
		p.value(0)
	case "enum":
		p.enum()
	case "struct", "exception", "union":
		name := p.name()
		p.declare(name)
		s := &Struct{Name: name.text, Union: w.text == "union"}
		p.structs[s.Name] = s
		p.expect("{")
		s.Fields = p.fields("}")
		p.annotations()
	case "service":
		p.service()
	default:
		p.fail(w, "%q is no definition: want typedef, const, enum, struct, union, exception or service", w.text)
	}
	p.separator()
}

// declare checks that a name is new.
func (p *parser) declare(w word) {
	if p.typedefs[w.text] != nil || p.structs[w.text] != nil || p.enums[w.text] != nil || bases[w.text] != 0 {
		p.fail(w, "%q is defined twice", w.text)
	}
}

// deepest is how deep values and types may be nested.
const deepest = 64

// value passes over the value of a constant.
func (p *parser) value(depth int) {
	w := p.next()
	if depth > deepest {
		p.fail(w, "values are nested more than %d deep", deepest)
	}
	if w.literal || w.text != "[" && w.text != "{" {
		return
	}
	end := map[string]string{"[": "]", "{": "}"}[w.text]
	for !p.accept(end) {
		p.value(depth + 1)
		if p.accept(":") {
			p.value(depth + 1)
		}
		p.separator()
	}
}

func (p *parser) enum() {
	name := p.name()
	p.declare(name)
	e := &Enum{Name: name.text, Numbers: map[string]int32{}, Names: map[int32]string{}}
	p.enums[e.Name] = e
	p.expect("{")
	next := int32(0)
	for !p.accept("}") {
		w := p.name()
		if p.accept("=") {
			next = int32(p.number(32)) //nolint:gosec // of 32 bits
		}
		p.annotations()
		if _, twice := e.Numbers[w.text]; twice {
			p.fail(w, "%q is defined twice", w.text)
		}
		e.Numbers[w.text] = next
		if _, taken := e.Names[next]; !taken {
			e.Names[next] = w.text
		}
		next++
		p.separator()
	}
	p.annotations()
}

// fields are those of a struct or the arguments of a function, up to its end.
func (p *parser) fields(end string) (out []Field) {
	ids, names := map[int16]bool{}, map[string]bool{}
	for !p.accept(end) {
		if p.i == len(p.words) {
			p.next() // which says so
		}
		at := p.words[p.i]
		if p.i+1 >= len(p.words) || p.words[p.i+1].text != ":" {
			p.fail(at, "%q: begin fields with their number, \"1: …\"", at.text)
		}
		f := Field{ID: int16(p.number(16))} //nolint:gosec // of 16 bits
		p.expect(":")
		if f.Required = p.accept("required"); !f.Required {
			p.accept("optional")
		}
		f.Type = p.typ()
		name := p.name()
		f.Name = name.text
		if p.accept("=") {
			p.value(0)
			f.Required = false
		}
		p.annotations()
		p.separator()
		if ids[f.ID] || names[f.Name] {
			p.fail(name, "the number %d or the name %q is that of two fields", f.ID, f.Name)
		}
		ids[f.ID], names[f.Name] = true, true
		out = append(out, f)
	}
	return out
}

func (p *parser) service() {
	name := p.name()
	if p.file.Services[name.text] != nil {
		p.fail(name, "%q is defined twice", name.text)
	}
	s := &Service{Name: name.text, Methods: map[string]*Method{}}
	p.file.Services[s.Name] = s
	if p.accept("extends") {
		p.extends[s] = p.name()
	}
	p.expect("{")
	for !p.accept("}") {
		m := &Method{OneWay: p.accept("oneway")}
		if !p.accept("void") {
			m.Result = p.typ()
		}
		w := p.name()
		m.Name = w.text
		p.expect("(")
		m.Args = &Struct{Name: m.Name, Fields: p.fields(")")}
		if p.accept("throws") {
			p.expect("(")
			m.Throws = p.fields(")")
		}
		p.annotations()
		p.separator()
		if s.Methods[m.Name] != nil {
			p.fail(w, "%q is defined twice", m.Name)
		}
		s.Methods[m.Name] = m
	}
	p.annotations()
}

// typ reads a type.
func (p *parser) typ() *Type {
	return p.nested(0)
}

func (p *parser) nested(depth int) *Type {
	w := p.name()
	if depth > deepest {
		p.fail(w, "types are nested more than %d deep", deepest)
	}
	t := &Type{Kind: bases[w.text]}
	switch {
	case w.text == "list", w.text == "set":
		if t.Kind = List; w.text == "set" {
			t.Kind = Set
		}
		p.cpp()
		p.expect("<")
		t.Elem = p.nested(depth + 1)
		p.expect(">")
		p.cpp()
	case w.text == "map":
		t.Kind = Map
		p.cpp()
		p.expect("<")
		t.Key = p.nested(depth + 1)
		p.expect(",")
		t.Elem = p.nested(depth + 1)
		p.expect(">")
	case t.Kind == 0:
		t.name = w
		p.named = append(p.named, t)
	}
	p.annotations()
	return t
}

// cpp passes over "cpp_type 'x'".
func (p *parser) cpp() {
	if p.accept("cpp_type") {
		p.next()
	}
}

// resolve finds what names stand for.
func (p *parser) resolve() {
	for _, t := range p.named {
		p.find(t, 0)
	}
	for s := range p.extends {
		for of, depth := s, 0; ; depth++ {
			w, more := p.extends[of]
			if !more {
				break
			}
			base := p.file.Services[w.text]
			if base == nil || depth > deepest {
				p.fail(w, "there is no service %q to extend", w.text)
			}
			for name, m := range base.Methods {
				if s.Methods[name] == nil {
					s.Methods[name] = m
				}
			}
			of = base
		}
	}
}

func (p *parser) find(t *Type, depth int) {
	name := t.name.text
	if t.Kind != 0 {
		return
	}
	if depth > deepest {
		p.fail(t.name, "%q stands for itself", name)
	}
	switch {
	case p.structs[name] != nil:
		t.Kind, t.Struct = StructKind, p.structs[name]
	case p.enums[name] != nil:
		t.Kind, t.Enum = EnumKind, p.enums[name]
	case p.typedefs[name] != nil:
		to := p.typedefs[name]
		p.find(to, depth+1)
		t.Kind, t.Key, t.Elem, t.Struct, t.Enum = to.Kind, to.Key, to.Elem, to.Struct, to.Enum
	default:
		p.fail(t.name, "there is no type %q", name)
	}
}
