package document

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/model"
)

// FrontEnd converts the documents of one kind into model objects.
type FrontEnd struct {
	// Kind as users write it, of the API group and its versions, the preferred one first.
	Kind     string
	Group    string
	Versions []string
	// As is the kind under which objects are known where it is not Kind.
	As model.Kind
	// Cluster: objects of the kind have no namespace.
	Cluster bool
	// Shape of the whole document.
	Shape *Shape
	// Convert makes the objects. It reports faults with d.Error; what it returns
	// then is dropped. The first object should have the document's Meta.
	Convert func(d *Document) []model.Object
}

// APIVersion returns the preferred API version.
func (f *FrontEnd) APIVersion() string {
	return strings.TrimPrefix(f.Group+"/"+f.Versions[0], "/")
}

// Input says where a text comes from.
type Input struct {
	// Source is the name of the source.
	Source string
	// File is the path as the user knows it, Dir the absolute path of its folder.
	File, Dir string
}

// Result is what became of one document.
type Result struct {
	// Key identifies the object as far as it could be told; zero when not at all.
	Key  model.Key
	Line int
	// Text is the document as written (of a List's item: written anew).
	Text []byte
	// Objects are the outcome; none when Bad.
	Objects []model.Object
	// Findings of this document.
	Findings []model.Finding
	// Bad: the document was meant to be an object and could not be used.
	Bad bool

	// begin is the line where Text begins; 0 of one that stands in no file by itself.
	begin int
}

// LastGood is the Finding about an object whose new version is bad: at is where the one that stays stands.
func LastGood(k model.Key, at model.Origin) model.Finding {
	return model.Finding{Code: CodeLastGood, Severity: model.Info, Object: k, Origin: at, Message: "the last good version stays in force"}
}

// Decoder knows the front ends. It is immutable and may be used by many.
type Decoder struct {
	byKind map[string][]*FrontEnd
	kinds  []string // what we read
	groups []string
	// fallback handles documents without apiVersion and kind, by the file's base name.
	fallback map[string]*FrontEnd
	// analysis: see ForAnalysis.
	analysis bool
}

// NewDecoder returns a Decoder for the front ends. Documents of files named in
// fallback may lack apiVersion and kind: the whole text is the spec then.
func NewDecoder(fronts []FrontEnd, fallback map[string]*FrontEnd) *Decoder {
	d := &Decoder{byKind: map[string][]*FrontEnd{}, fallback: fallback}
	for i := range fronts {
		f := &fronts[i]
		d.byKind[f.Kind] = append(d.byKind[f.Kind], f)
		d.kinds = append(d.kinds, f.Kind)
		if f.Group != "" && !slices.Contains(d.groups, f.Group) {
			d.groups = append(d.groups, f.Group)
		}
	}
	return d
}

// FrontEnds returns all front ends, in no order.
func (dec *Decoder) FrontEnds() (out []*FrontEnd) {
	for _, list := range dec.byKind {
		out = append(out, list...)
	}
	return out
}

// Find returns the front end of a kind of an API group; nil: there is none.
func (dec *Decoder) Find(group, kind string) *FrontEnd {
	for _, f := range dec.byKind[kind] {
		if f.Group == group {
			return f
		}
	}
	return nil
}

// ForAnalysis returns a decoder that also warns of what the status of a document says
// is wrong, and leaves out the Findings that the document's annotations suppress.
func (dec *Decoder) ForAnalysis() *Decoder {
	out := *dec
	out.analysis = true
	return &out
}

// Decode reads all documents of a text.
func (dec *Decoder) Decode(data []byte, in Input) []Result { return dec.Again(data, in, nil) }

// Again reads all documents of a text that was another before, of which before was the
// outcome, with the same Input. Documents that are as they were, where they were, are not
// read again: their Objects are the same pointers.
func (dec *Decoder) Again(data []byte, in Input, before []Result) []Result {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	origin := model.Origin{Source: in.Source, File: in.File, Line: 1}
	if why, line := notText(data); why != "" {
		origin.Line = line
		return []Result{{Line: line, Bad: true, Findings: []model.Finding{{
			Code: CodeText, Severity: model.Error, Origin: origin, Message: why,
			Remedy: "remove the file or give it another name than *.yaml",
		}}}}
	}
	var out []Result
	begins := beginnings(before)
	for _, c := range split(data) {
		if i, ok := begins[c.line]; ok && bytes.Equal(before[i].Text, c.text) {
			again := before[i]
			again.Text = c.text // the old text as a whole is not kept for a part of it
			out = append(out, again)
			continue
		}
		at := in
		if c.file != "" {
			at.File, at.Dir = c.file, filepath.Dir(c.file)
		}
		root, msg, remedy, line := parse(c.text)
		if msg != "" {
			o := model.Origin{Source: in.Source, File: at.File, Line: c.line + line - 1}
			k := guess(c.text)
			out = append(out, Result{Key: k, Line: o.Line, Bad: true, Findings: []model.Finding{{
				Code: CodeSyntax, Severity: model.Error, Object: k, Origin: o, Message: "is not valid YAML: " + msg, Remedy: remedy,
			}}})
			continue
		}
		if root != nil {
			out = append(out, dec.expand(root, at, c)...)
		}
	}
	return out
}

// beginnings are the results of documents by the line where they begin; nil: of none.
func beginnings(list []Result) map[int]int {
	if len(list) == 0 {
		return nil
	}
	out := make(map[int]int, len(list))
	for i := range list {
		if list[i].begin > 0 {
			out[list[i].begin] = i
		}
	}
	return out
}

// expand decodes one root node, or each item of a Kubernetes List.
func (dec *Decoder) expand(root *yaml.Node, in Input, c chunk) []Result {
	offset := c.line - 1
	items := child(root, "items")
	if word(root, "kind") != "List" || items == nil || items.Kind != yaml.SequenceNode {
		r := dec.one(root, in, offset)
		r.Text, r.begin = c.text, c.line
		return []Result{r}
	}
	var out []Result
	for _, n := range items.Content {
		if n = resolve(n); n != nil {
			r := dec.one(n, in, offset)
			r.Text, _ = yaml.Marshal(n) // a parsed node can be written
			out = append(out, r)
		}
	}
	return out
}

// one decodes one resource.
func (dec *Decoder) one(root *yaml.Node, in Input, offset int) Result {
	d := &Document{
		APIVersion: word(root, "apiVersion"), Kind: word(root, "kind"), Dir: in.Dir,
		styles: map[string]bool{},
	}
	d.Origin = model.Origin{Source: in.Source, File: in.File, Line: root.Line + offset}
	meta := child(root, "metadata")
	d.Key = model.Key{Kind: model.Kind(d.Kind), Namespace: word(meta, "namespace"), Name: word(meta, "name")}
	front, known := dec.route(d, root, in)
	if front == nil {
		return Result{Key: d.Key, Line: d.Origin.Line, Findings: d.findings, Bad: !known}
	}
	if front.As != "" {
		d.Key.Kind = front.As
	}
	if front.Cluster {
		d.Key.Namespace = ""
	} else if d.Key.Namespace == "" {
		d.Key.Namespace = DefaultNamespace
	}
	w := &walker{doc: d, offset: offset, budget: maxNodes}
	body, _ := w.value(root, front.Shape, "")
	d.Body, _ = body.(map[string]any)
	r := Result{Key: d.Key, Line: d.Origin.Line}
	if d.Body != nil {
		// Even of a document whose shape is wrong the rest is judged, so that all
		// its faults are found at once.
		d.broken = d.bad
		shape := d.findings
		d.findings = nil
		d.metadata()
		r.Objects = front.Convert(d)
		d.findings = append(shape, independent(d.findings, shape)...)
	}
	if dec.analysis {
		conditions(d, root, offset)
		d.findings = slices.DeleteFunc(d.findings, func(f model.Finding) bool { return finding.Annotated(d.Annotations, f) })
	}
	if d.bad {
		r.Objects = nil
	}
	packed := d.Lines.Pack() // by now nobody asks for many
	for _, o := range r.Objects {
		o.Head().Lines = packed
	}
	r.Findings, r.Bad = tidy(d.findings), d.bad
	return r
}

// route finds the front end. When there is none, known tells whether that is in order.
func (dec *Decoder) route(d *Document, root *yaml.Node, in Input) (front *FrontEnd, known bool) {
	switch {
	case root.Kind != yaml.MappingNode:
		d.Error(CodeNoKind, "", "begin with apiVersion, kind and metadata", "the document is no resource but %s", describe(root))
		return nil, false
	case d.Kind == "" && d.APIVersion == "":
		if f := dec.fallback[filepath.Base(in.File)]; f != nil {
			wrap(d, root, f)
			return f, true
		}
		return nil, dec.noKind(d, root, in)
	case d.Kind == "":
		d.Error(CodeNoKind, "kind", "say what it is, e.g. kind: Service", "is missing")
		return nil, false
	case d.APIVersion == "":
		remedy := "say which API the kind belongs to"
		if f := dec.byKind[d.Kind]; f != nil {
			remedy = "write apiVersion: " + f[0].APIVersion()
		}
		d.Error(CodeNoKind, "apiVersion", remedy, "is missing")
		return nil, false
	}
	g, v := group(d.APIVersion)
	for _, f := range dec.byKind[d.Kind] {
		if f.Group == g && slices.Contains(f.Versions, v) {
			return f, true
		}
	}
	d.Lines.Set("apiVersion", lineOf(root, "apiVersion", d))
	d.Lines.Set("kind", lineOf(root, "kind", d))
	return nil, dec.foreign(d, g)
}

func lineOf(root *yaml.Node, name string, d *Document) int {
	return child(root, name).Line - root.Line + d.Origin.Line
}

// noKind judges a document with neither apiVersion nor kind.
func (dec *Decoder) noKind(d *Document, root *yaml.Node, in Input) bool {
	if strings.HasPrefix(filepath.Base(in.File), "kustomization.") {
		d.Info(CodeElsewhere, "", "", "a kustomization is for Kubernetes: ignored here")
		return true
	}
	if child(root, "metadata") != nil || child(root, "spec") != nil {
		d.Error(CodeNoKind, "apiVersion", "write e.g. apiVersion: v1 and kind: Service", "and kind are missing")
		return false
	}
	d.Warn(CodeNoKind, "", "move it elsewhere, or add apiVersion and kind", "the document is no resource: ignored")
	return true
}

// wrap puts a bare spec into a resource of the front end's kind.
func wrap(d *Document, root *yaml.Node, f *FrontEnd) {
	inner := *root
	str := func(s string) *yaml.Node {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Line: root.Line}
	}
	*root = yaml.Node{Kind: yaml.MappingNode, Line: root.Line, Content: []*yaml.Node{
		str("apiVersion"), str(f.APIVersion()), str("kind"), str(f.Kind), str("spec"), &inner,
	}}
	d.APIVersion, d.Kind = f.APIVersion(), f.Kind
	d.Key = model.Key{Kind: model.Kind(f.Kind), Name: "file"}
}

// independent returns the findings that are no mere consequence of those about
// the document's shape.
func independent(findings, shape []model.Finding) []model.Finding {
	return slices.DeleteFunc(findings, func(f model.Finding) bool {
		return slices.ContainsFunc(shape, func(g model.Finding) bool {
			if g.Severity != model.Error {
				return false
			}
			return under(f.Field, g.Field) || under(g.Field, f.Field) ||
				f.Code == CodeMissing && model.Parent(f.Field) == model.Parent(g.Field)
		})
	})
}

// under tells whether a field is another one or a part of it.
func under(field, whole string) bool {
	rest, ok := strings.CutPrefix(field, whole)
	return ok && (rest == "" || whole == "" || rest[0] == '.' || rest[0] == '[')
}

// tidy orders findings by line and bounds their number.
func tidy(fs []model.Finding) []model.Finding {
	slices.SortStableFunc(fs, func(a, b model.Finding) int {
		return cmp.Or(a.Origin.Line-b.Origin.Line, cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	const most = 40
	if len(fs) > most {
		last := fs[most]
		last.Field, last.Remedy, last.Severity = "", "", model.Error
		last.Message = fmt.Sprintf("and %d more faults", len(fs)-most)
		fs = append(fs[:most:most], last)
	}
	return fs
}
