package oracle

import (
	"slices"
	"strings"

	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// What RBAC's permissions and principals say is a logical expression, which has many
// forms: "and" of one, "and" inside of "and", "any" beside others. Here all of them get
// one text.

// isLogic tells whether a message is such an expression.
func isLogic(m protoreflect.MessageDescriptor) bool {
	return m != nil && (m.FullName() == "envoy.config.rbac.v3.Permission" || m.FullName() == "envoy.config.rbac.v3.Principal")
}

// expression is a leaf (no op), or "and", "or", "not" of members. The one that always
// holds is an "and" of nothing, the one that never does an "or" of nothing.
type expression struct {
	op      string
	members []expression
	leaf    string
}

// String is the same for expressions that say the same by the rules of combine.
func (e expression) String() string {
	if e.op == "" {
		return e.leaf
	}
	var out []string
	for _, m := range e.members {
		out = append(out, m.String())
	}
	return e.op + "(" + strings.Join(out, " | ") + ")"
}

// combine is "and" or "or": members of the same kind are taken in, repeats and the order
// do not count, one alone is itself, and an opposite of nothing decides.
func combine(op string, list []expression) expression {
	byText := map[string]expression{}
	for _, e := range list {
		if e.op == op {
			for _, m := range e.members {
				byText[m.String()] = m
			}
			continue
		}
		if e.op == opposite[op] && len(e.members) == 0 {
			return e
		}
		byText[e.String()] = e
	}
	out := expression{op: op}
	var texts []string
	for text := range byText {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	for _, text := range texts {
		out.members = append(out.members, byText[text])
	}
	if len(out.members) == 1 {
		return out.members[0]
	}
	return out
}

var opposite = map[string]string{"and": "or", "or": "and"}

func negate(e expression) expression {
	switch {
	case e.op == "not":
		return e.members[0]
	case e.op != "" && len(e.members) == 0:
		return expression{op: opposite[e.op]}
	}
	return expression{op: "not", members: []expression{e}}
}

// logic reads an expression.
func (f *Form) logic(m protoreflect.Message) (e expression, err error) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch fd.Name() {
		case "any":
			e = expression{op: "and"}
		case "and_rules", "and_ids":
			e, err = f.logicSet("and", v.Message())
		case "or_rules", "or_ids":
			e, err = f.logicSet("or", v.Message())
		case "not_rule", "not_id":
			if e, err = f.logic(v.Message()); err == nil {
				e = negate(e)
			}
		default:
			e.leaf, err = f.text(fd, v)
			e.leaf = string(fd.Name()) + "{" + e.leaf + "}"
		}
		return err == nil
	})
	return e, err
}

// logicSet reads the only list of a message.
func (f *Form) logicSet(op string, m protoreflect.Message) (e expression, err error) {
	e.op = op
	m.Range(func(_ protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		e, err = f.logicList(op, v.List())
		return false
	})
	return e, err
}

func (f *Form) logicList(op string, l protoreflect.List) (expression, error) {
	var out []expression
	for i := range l.Len() {
		e, err := f.logic(l.Get(i).Message())
		if err != nil {
			return e, err
		}
		out = append(out, e)
	}
	return combine(op, out), nil
}

// neverHolds tells whether a policy is one that no request can meet.
func neverHolds(p *rbacconfigv3.Policy) bool {
	for _, field := range []protoreflect.Name{"permissions", "principals"} {
		m := p.ProtoReflect()
		e, err := empty().logicList("or", m.Get(m.Descriptor().Fields().ByName(field)).List())
		if err == nil && e.op == "or" && len(e.members) == 0 {
			return true
		}
	}
	return false
}
