// Package document reads resources out of YAML text with the precision that
// good error messages need: every Finding names file, line, object, field and
// remedy, and one bad document never hides another.
//
// A text is split into documents, each is checked against the Shape of its kind
// (unknown and duplicate fields, types, ranges, enums, alternatives), and only
// then converted by the front end that the Decoder knows for its kind. All
// faults of a document are reported, not only the first.
//
// The package knows no kind by itself, does no I/O and keeps no state between
// documents. It never panics on any input.
package document

import (
	"fmt"

	"github.com/weftmesh/weft/control/model"
)

// Document is one resource that has passed the check of its shape, on its way
// through a front end.
type Document struct {
	// Meta is filled: key, origin, labels, annotations, time of creation, hash.
	model.Meta
	// APIVersion and Kind as written.
	APIVersion, Kind string
	// Body is the document in terms of JSON (map[string]any, []any, string,
	// bool, int64, float64), durations in protobuf's form, aliases resolved.
	Body map[string]any
	// Dir is the absolute path of the folder of the document's file; empty when unknown.
	Dir string

	styles   map[string]bool // fields written as block scalars
	findings []model.Finding
	bad      bool
	broken   bool // the shape is wrong: Body lacks what is
}

// Beside is a document for what stands as text at an object that did not come as text, and
// is read as it would be of one. Its Findings are taken from it.
func Beside(m model.Meta) *Document {
	return &Document{Meta: m, Kind: string(m.Key.Kind)}
}

// Findings are those so far.
func (d *Document) Findings() []model.Finding { return d.findings }

// Spec returns the "spec" part, never nil.
func (d *Document) Spec() map[string]any {
	if m, ok := d.Body["spec"].(map[string]any); ok {
		return m
	}
	return map[string]any{}
}

// Line returns the line of a field, or of its nearest parent that is written.
func (d *Document) Line(field string) int { return d.At(field).Line }

// Block tells whether the field is a block scalar ("|" or ">"), whose text
// begins on the line after Line.
func (d *Document) Block(field string) bool { return d.styles[field] }

// Bad tells whether an Error was reported, so that the object must not be used.
func (d *Document) Bad() bool { return d.bad }

// Error reports what makes the object unusable. The remedy may be empty.
func (d *Document) Error(code, field, remedy, format string, args ...any) {
	d.bad = true
	d.report(model.Error, code, field, remedy, fmt.Sprintf(format, args...))
}

// Invalid is Error for a value that is not allowed, the commonest case.
func (d *Document) Invalid(field, remedy, format string, args ...any) {
	d.Error(CodeValue, field, remedy, format, args...)
}

// Unsupported is Error for what Weft does not carry out and must not pass over.
func (d *Document) Unsupported(field, remedy, format string, args ...any) {
	d.Error(CodeRefused, field, remedy, format, args...)
}

// Warn reports what is used all the same.
func (d *Document) Warn(code, field, remedy, format string, args ...any) {
	d.report(model.Warning, code, field, remedy, fmt.Sprintf(format, args...))
}

// Info reports what may surprise.
func (d *Document) Info(code, field, remedy, format string, args ...any) {
	d.report(model.Info, code, field, remedy, fmt.Sprintf(format, args...))
}

// Add reports a ready-made Finding of the same file; its Object is filled in.
func (d *Document) Add(f model.Finding) {
	f.Object = d.Key
	d.bad = d.bad || f.Severity == model.Error
	d.findings = append(d.findings, f)
}

func (d *Document) report(s model.Severity, code, field, remedy, msg string) {
	d.findings = append(d.findings, model.Finding{
		Code: code, Severity: s, Object: d.Key, Origin: d.At(field),
		Field: field, Message: msg, Remedy: remedy,
	})
}

// Join appends a field name or map key to a path.
func Join(path, name string) string {
	if path == "" {
		return name
	}
	for _, r := range name {
		if r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return path + `["` + name + `"]`
		}
	}
	if name == "" {
		return path + `[""]`
	}
	return path + "." + name
}

// At appends an index to a path.
func At(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
