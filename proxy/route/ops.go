package route

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
)

// opKind says what an operation does with its header.
type opKind uint8

const (
	opSet opKind = iota
	opSetIfPresent
	opAdd
	opAddIfAbsent
)

// headerOp sets or adds one header. text is used when format is nil.
type headerOp struct {
	kind      opKind
	name      string
	text      string
	format    *format.Format
	keepEmpty bool
}

// headerOps are the compiled operations of one level and direction.
type headerOps struct {
	remove  []string
	put     []headerOp // replacements first
	dynamic bool       // some have a format
}

func compileOps(o *HeaderOps, fo format.Options) (c headerOps, err error) {
	for _, name := range o.Remove {
		if err := checkName(name); err != nil {
			return c, err
		}
		c.remove = append(c.remove, strings.ToLower(name))
	}
	for _, group := range []struct {
		kind   opKind
		values []HeaderValue
	}{{opSet, o.Set}, {opSetIfPresent, o.SetIfPresent}, {opAdd, o.Add}, {opAddIfAbsent, o.AddIfAbsent}} {
		for _, v := range group.values {
			if err := checkName(v.Name); err != nil {
				return c, err
			}
			f, err := format.Compile(v.Value, fo)
			if err != nil {
				return c, fmt.Errorf("header %q: %w", v.Name, err)
			}
			op := headerOp{kind: group.kind, name: strings.ToLower(v.Name), keepEmpty: v.KeepEmpty}
			var literal bool
			if op.text, literal = f.Literal(); !literal {
				op.format, c.dynamic = f, true
			}
			c.put = append(c.put, op)
		}
	}
	return c, nil
}

// checkName refuses what would change the request line: rewrites are for that.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a header operation has no header name")
	case name[0] == ':' || strings.EqualFold(name, "host"):
		return fmt.Errorf("header %q may not be changed by header operations; use a rewrite", name)
	}
	return nil
}

func (o *headerOps) empty() bool { return len(o.remove) == 0 && len(o.put) == 0 }

// noInfo stands in where a caller has nothing to tell.
var noInfo filter.Info

// apply changes h. All values are computed before the first is put, so that
// they see the headers as they were.
func (o *headerOps) apply(h *filter.Headers, info *filter.Info) {
	for _, name := range o.remove {
		h.Del(name)
	}
	if !o.dynamic {
		for i := range o.put {
			o.put[i].put(h, o.put[i].text)
		}
		return
	}
	if info == nil {
		info = &noInfo
	}
	var few [8]string
	values := few[:0]
	for i := range o.put {
		op, v := &o.put[i], o.put[i].text
		if op.format != nil {
			v = h.Kept(op.format.Append(h.Buffer(), info))
		}
		values = append(values, v)
	}
	for i := range o.put {
		o.put[i].put(h, values[i])
	}
}

func (op *headerOp) put(h *filter.Headers, v string) {
	if v == "" && !op.keepEmpty {
		return
	}
	switch op.kind {
	case opSet:
		h.Set(op.name, v)
	case opSetIfPresent:
		if h.Has(op.name) {
			h.Set(op.name, v)
		}
	case opAdd:
		h.Add(op.name, v)
	case opAddIfAbsent:
		if !h.Has(op.name) {
			h.Add(op.name, v)
		}
	}
}
