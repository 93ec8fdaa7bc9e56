package protocol

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Limits of a declaration. MaxParts is how many parts it may have.
const (
	maxHeader = 64 << 10
	maxBytes  = 64 << 20
	MaxParts  = 16
	maxPlaces = 64
)

// Fault is what is wrong with a declaration.
type Fault struct {
	// Field is the path in the declaration, "framing.length.size".
	Field, Message, Remedy string
}

// Error is the fault in one line.
func (f Fault) Error() string { return f.Field + ": " + f.Message }

// Check returns all that is wrong; nil: the declaration can be carried out.
func (d *Declaration) Check() []Fault {
	c := &checker{d: d}
	c.framing()
	c.parts()
	c.kinds()
	c.answers()
	n := len(d.Service) + len(d.Method) + len(d.Fields)
	if n > maxPlaces {
		c.fault("fields", "leave some out", "%d services, methods and fields are more than %d", n, maxPlaces)
	}
	for i := range d.Service {
		c.place(fmt.Sprintf("service[%d]", i), &d.Service[i], false)
	}
	for i := range d.Method {
		c.place(fmt.Sprintf("method[%d]", i), &d.Method[i], false)
	}
	c.fields()
	return c.faults
}

// Bytes reads text, or "0x" and hexadecimal digits.
func Bytes(s string) ([]byte, error) {
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		return hex.DecodeString(rest)
	}
	return []byte(s), nil
}

type checker struct {
	d      *Declaration
	faults []Fault
}

func (c *checker) fault(field, remedy, format string, args ...any) {
	c.faults = append(c.faults, Fault{field, fmt.Sprintf(format, args...), remedy})
}

func (c *checker) framing() {
	f := &c.d.Framing
	n := 0
	for _, set := range []bool{f.Length != nil, f.Delimiter != "", f.Fixed != 0} {
		if set {
			n++
		}
	}
	if n != 1 {
		c.fault("framing", "write one of them", "has %d of length, delimiter and fixed: it cannot be known where messages end", n)
	}
	for _, b := range []struct{ name, s string }{{"magic", f.Magic}, {"delimiter", f.Delimiter}} {
		if _, err := Bytes(b.s); err != nil {
			c.fault("framing."+b.name, "write an even number of digits", "%q: %v", b.s, err)
		}
	}
	magic, _ := Bytes(f.Magic)
	if len(magic) > f.Header && f.Length != nil {
		c.fault("framing.magic", "make framing.header larger", "%d bytes do not fit into a header of %d", len(magic), f.Header)
	}
	if f.Header < 0 || f.Header > maxHeader {
		c.fault("framing.header", "", "must be 0 to %d bytes, got %d", maxHeader, f.Header)
	}
	if f.MaxBytes < 0 || f.MaxBytes > maxBytes {
		c.fault("framing.maxBytes", "", "must be 0 (8 MiB) to %d bytes, got %d", maxBytes, f.MaxBytes)
	}
	if f.Fixed != 0 && (f.Fixed < max(1, f.Header) || f.Fixed > maxBytes) {
		c.fault("framing.fixed", "", "must be %d (the header) to %d bytes, got %d", max(1, f.Header), maxBytes, f.Fixed)
	}
	if f.Length != nil {
		c.number("framing.length", f.Length, true)
	}
}

// number checks a length; placed: it is in the header.
func (c *checker) number(at string, n *Number, placed bool) {
	most := 8
	if n.Text {
		most = 20
	}
	if n.Size < 1 || n.Size > most {
		c.fault(at+".size", "", "must be 1 to %d bytes, got %d", most, n.Size)
	}
	c.endian(at, n.Endian)
	if n.Adjustment < -maxBytes || n.Adjustment > maxBytes {
		c.fault(at+".adjustment", "", "%d is out of range", n.Adjustment)
	}
	switch {
	case !placed && n.Offset != 0:
		c.fault(at+".offset", "remove it", "a prefix stands right before its part")
	case placed && (n.Offset < 0 || n.Offset+n.Size > c.d.Framing.Header):
		c.fault(at+".offset", "make framing.header larger", "%d bytes at %d are not within the header of %d bytes", n.Size, n.Offset, c.d.Framing.Header)
	}
}

func (c *checker) endian(at, e string) {
	if e != "" && e != "big" && e != "little" {
		c.fault(at+".endian", "write big or little", "must be big or little, got %q", e)
	}
}

func (c *checker) parts() {
	if len(c.d.Parts) > MaxParts {
		c.fault("parts", "join some", "%d are more than %d", len(c.d.Parts), MaxParts)
	}
	seen := map[string]bool{}
	for i := range c.d.Parts {
		p, at := &c.d.Parts[i], fmt.Sprintf("parts[%d]", i)
		if p.Name == "" || seen[p.Name] {
			c.fault(at+".name", "give each part a name of its own", "%q is empty or taken", p.Name)
		}
		seen[p.Name] = true
		switch {
		case p.Length != nil && p.Prefix != nil:
			c.fault(at, "keep one", "has both length and prefix")
		case p.Length != nil:
			c.number(at+".length", p.Length, true)
		case p.Prefix != nil:
			c.number(at+".prefix", p.Prefix, false)
		case i != len(c.d.Parts)-1:
			c.fault(at, "say where its length is", "is the rest of the message, and others follow")
		}
		formats := []string{"", Lines, Pairs, TLV, Protobuf, JSON, Words}
		if !slices.Contains(formats, p.Format) {
			c.fault(at+".format", "write one of "+strings.Join(formats[1:], ", "), "%q is not a format", p.Format)
		}
		for _, s := range []struct {
			name string
			n    int
		}{{"keySize", p.KeySize}, {"valueSize", p.ValueSize}} {
			if s.n != 0 && s.n != 1 && s.n != 2 && s.n != 4 {
				c.fault(at+"."+s.name, "", "must be 1, 2 or 4 bytes, got %d", s.n)
			}
		}
		c.endian(at, p.Endian)
	}
}

// part finds a part.
func (c *checker) part(name string) *Part {
	i := slices.IndexFunc(c.d.Parts, func(p Part) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return &c.d.Parts[i]
}

// place checks where something lies; all: it is a whole map.
func (c *checker) place(at string, p *Place, all bool) {
	var part *Part
	if p.Part != "" {
		if part = c.part(p.Part); part == nil {
			c.fault(at+".part", "add it to parts", "there is no part %q", p.Part)
			return
		}
	}
	format := ""
	if part != nil {
		format = part.Format
	}
	c.alternatives(at, p, part == nil, all)
	wants := func(is bool, field string, formats ...string) {
		if is && !slices.Contains(formats, format) {
			c.fault(at+"."+field, "", "is for parts of the format %s, and %q is none", strings.Join(formats, " or "), p.Part)
		}
	}
	wants(p.Key != "", "key", Lines, Pairs)
	wants(p.Tag != nil, "tag", TLV)
	wants(p.Path != "", "path", Protobuf, JSON)
	wants(p.Index != nil, "index", Words)
	wants(all, "all", Lines, Pairs, Protobuf, JSON)
	if p.Path != "" && format == Protobuf {
		if _, err := Numbers(p.Path); err != nil {
			c.fault(at+".path", "write numbers of fields with dots between them", "%v", err)
		}
	}
	if all && p.Path == "" && format == Protobuf {
		c.fault(at+".path", "write the number of the field that is a map", "is missing")
	}
	if p.Index != nil && *p.Index < 0 || p.Tag != nil && *p.Tag < 0 {
		c.fault(at, "", "neither a tag nor an index is negative")
	}
	if p.Offset != nil {
		c.offset(at, p)
	}
	if o := p.Of; o != "" && o != "requests" && o != "answers" && o != "streams" {
		c.fault(at+".of", "write requests, answers or streams", "must be requests, answers or streams, got %q", o)
	}
}

// alternatives checks that a place is said in one way.
func (c *checker) alternatives(at string, p *Place, whole, all bool) {
	n := 0
	for _, set := range []bool{p.Offset != nil, p.Key != "", p.Tag != nil, p.Path != "", p.Index != nil} {
		if set {
			n++
		}
	}
	switch {
	case n > 1:
		c.fault(at, "keep one", "has more than one of offset, key, tag, path and index")
	case n == 0 && whole:
		c.fault(at, "write offset and size, or part", "says no place")
	case p.Offset == nil && whole:
		c.fault(at+".part", "name the part", "is missing")
	case all && (p.Offset != nil || p.Key != "" || p.Tag != nil || p.Index != nil):
		c.fault(at+".all", "remove it", "one entry is not all")
	}
}

func (c *checker) offset(at string, p *Place) {
	c.endian(at, p.Endian)
	if *p.Offset < 0 || *p.Offset > maxHeader {
		c.fault(at+".offset", "", "must be 0 to %d, got %d", maxHeader, *p.Offset)
	}
	most := 8
	if p.Text {
		most = 1024
	}
	if p.Size < 1 || p.Size > most {
		c.fault(at+".size", "", "must be 1 to %d bytes, got %d", most, p.Size)
	}
	if p.Mask != 0 && p.Text {
		c.fault(at+".mask", "remove it", "text has no bits")
	}
	if p.Part == "" && c.d.Framing.Length != nil && *p.Offset+p.Size > c.d.Framing.Header {
		c.fault(at+".offset", "make framing.header larger, or name a part", "%d bytes at %d are not within the header of %d bytes", p.Size, *p.Offset, c.d.Framing.Header)
	}
}

// Numbers reads a path of protobuf.
func Numbers(path string) ([]int, error) {
	var out []int
	for s := range strings.SplitSeq(path, ".") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 1<<29-1 {
			return nil, fmt.Errorf("%q is not the number of a field", s)
		}
		out = append(out, n)
	}
	if len(out) > 8 {
		return nil, fmt.Errorf("%q has more than 8 numbers", path)
	}
	return out, nil
}

// refines says of which kind messages are that become another.
var refines = map[string]string{
	"oneWay": "request", "heartbeat": "request", "error": "response", "heartbeatReply": "response", "streamReset": "streamEnd",
}

func (c *checker) kinds() {
	d := c.d
	streams := false
	if t := d.Type; t != nil {
		c.place("type", &t.Place, false)
		if len(t.Values) == 0 {
			c.fault("type.values", "write e.g. {request: [1], response: [2]}", "is missing")
		}
		taken := map[Value]string{}
		for _, k := range slices.Sorted(maps.Keys(t.Values)) {
			at := "type.values." + k
			if !slices.Contains(Kinds, k) {
				c.fault(at, "write one of "+strings.Join(Kinds, ", "), "%q is not a kind of message", k)
			}
			streams = streams || strings.HasPrefix(k, "stream")
			for i, v := range t.Values[k] {
				if other, ok := taken[v]; ok {
					c.fault(fmt.Sprintf("%s[%d]", at, i), "use refine to tell them apart", "%s has the value %q too", other, v)
				}
				taken[v] = k
			}
			if len(t.Values[k]) == 0 {
				c.fault(at, "name a value, or remove the kind", "has no value")
			}
		}
	}
	for i := range d.Refine {
		r, at := &d.Refine[i], fmt.Sprintf("refine[%d]", i)
		c.place(at, &r.Place, false)
		if refines[r.Kind] == "" {
			c.fault(at+".kind", "write one of "+strings.Join(slices.Sorted(maps.Keys(refines)), ", "), "%q is not a kind that others become", r.Kind)
		}
		if len(r.Is) == 0 {
			c.fault(at+".is", "name values", "is missing")
		}
	}
	if streams && (d.Stream == nil || d.Stream.ID == nil) {
		c.fault("stream.id", "say where the stream's number is", "is missing")
	}
}

// answers checks what is needed to find answers and to give them.
func (c *checker) answers() {
	d := c.d
	if d.ID != nil {
		c.place("id", d.ID, false)
	}
	if d.Stream != nil {
		for name, p := range map[string]*Place{"id": d.Stream.ID, "status": d.Stream.Status, "text": d.Stream.Text} {
			if p != nil {
				c.place("stream."+name, p, false)
			}
		}
		if d.Stream.ID != nil && d.ID == nil {
			c.fault("stream", "say where a request's number is", "a protocol with streams needs an id")
		}
	}
	if d.Order != "" && d.Order != "oneByOne" && d.Order != "inOrder" {
		c.fault("order", "write oneByOne or inOrder", "must be oneByOne or inOrder, got %q", d.Order)
	}
	if d.Order != "" && d.ID != nil {
		c.fault("order", "remove one", "answers find their requests by id")
	}
	if d.Text != nil {
		c.place("text", d.Text, false)
	}
	s := d.Status
	if s == nil {
		return
	}
	c.place("status", &s.Place, false)
	for _, v := range slices.Sorted(maps.Keys(s.HTTP)) {
		if n := s.HTTP[v]; n < 200 || n > 599 {
			c.fault("status.http."+v, "", "must be a status of HTTP, 200 to 599, got %d", n)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.Codes)) {
		if n, err := strconv.Atoi(k); k != "default" && (err != nil || n < 200 || n > 599) {
			c.fault("status.codes."+k, "", "must be a status of HTTP or default, got %q", k)
		}
	}
}

func (c *checker) fields() {
	for i := range c.d.Fields {
		f, at := &c.d.Fields[i], fmt.Sprintf("fields[%d]", i)
		c.place(at, &f.Place, f.All)
		switch {
		case f.All && f.Name != "":
			c.fault(at+".name", "remove it", "all entries have names of their own")
		case !f.All && !name(f.Name):
			c.fault(at+".name", "use lower-case letters, digits, '-', '_' and '.'", "%q is not the name of a field", f.Name)
		}
	}
}

// name tells whether rules can name a field so.
func name(s string) bool {
	for _, r := range s {
		if r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return s != ""
}
