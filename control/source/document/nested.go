package document

import (
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// Nested reads YAML text that stands in a field of a document and begins on the
// given line of its file, checks it against a shape and decodes it. Fields and
// lines of later Findings are those of the nested text.
func (d *Document) Nested(field, text string, line int, s *Shape, into proto.Message) bool {
	root, msg, remedy, at := parse([]byte(text))
	if msg != "" {
		d.Lines.Set(field, line+at-1)
		d.Error(CodeSyntax, field, remedy, "is not valid YAML: %s", msg)
		return false
	}
	d.Lines = model.Lines{}
	if root == nil {
		return true // empty: all defaults
	}
	w := &walker{doc: d, offset: line - 1, budget: maxNodes}
	body, ok := w.value(root, s, "")
	if !ok || d.bad {
		return !d.bad
	}
	return d.Message("", body, into)
}
