// Command reference writes the page of all fields of Weft's own kinds, from the comments
// and tags of their types (api/weft). `make docs` runs it; a test compares. It knows what
// the types say of themselves, and nothing of what becomes of them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

func main() {
	dir := flag.String("types", "api/weft/v1alpha1", "folder of the types")
	flag.Parse()
	page, err := reference(*dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(page)
}

// object is a struct as its source has it.
type object struct {
	doc    string
	fields []field
}

type field struct{ name, kind, of, doc string }

// reference is the page for the types of a folder: one part for each that has a Spec.
func reference(dir string) (string, error) {
	types, order, err := read(dir)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Weft's own kinds\n\nEvery field, written by `make docs` from the types in [" + dir + "](../" + dir + "). What is not listed is refused.\n")
	for _, name := range order {
		k := types[name]
		if len(k.fields) != 1 || k.fields[0].name != "spec" {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", name, k.doc)
		fmt.Fprintf(&b, "\n| field | type | |\n|---|---|---|\n")
		rows(&b, types, "spec", k.fields[0].of)
	}
	return b.String(), nil
}

// rows writes the fields of a type, those of its parts after it.
func rows(b *strings.Builder, types map[string]object, at, name string) {
	for _, f := range types[name].fields {
		path := at + "." + f.name
		if strings.HasPrefix(f.kind, "list") {
			path += "[]"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", path, f.kind, strings.ReplaceAll(strings.Join(strings.Fields(f.doc), " "), "|", `\|`))
		rows(b, types, path, f.of)
	}
}

// read finds the structs of a package's folder, in the order in which they are written.
func read(dir string) (types map[string]object, order []string, err error) {
	set := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		return nil, nil, errors.Join(err, &fs.PathError{Op: "read", Path: dir, Err: fs.ErrNotExist})
	}
	types = map[string]object{}
	for _, n := range names {
		file, err := parser.ParseFile(set, n, nil, parser.ParseComments)
		if err != nil {
			return nil, nil, err
		}
		for _, d := range file.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			for _, s := range gen.Specs {
				spec := s.(*ast.TypeSpec)
				if st, ok := spec.Type.(*ast.StructType); ok {
					types[spec.Name.Name] = object{markdown(gen.Doc.Text()), fields(st)}
					order = append(order, spec.Name.Name)
				}
			}
		}
	}
	return types, order, nil
}

func fields(st *ast.StructType) (out []field) {
	for _, f := range st.Fields.List {
		if f.Tag == nil || len(f.Names) != 1 {
			continue
		}
		tag, _ := strconv.Unquote(f.Tag.Value)
		name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		kind, of := typeOf(f.Type)
		doc := strings.TrimSpace(f.Doc.Text())
		if rest, ok := strings.CutPrefix(doc, f.Names[0].Name+" "); ok {
			doc = rest
		}
		out = append(out, field{name, kind, of, doc})
	}
	return out
}

// typeOf says what a field's values are in YAML, and which struct they are; "": none.
func typeOf(x ast.Expr) (kind, of string) {
	switch t := x.(type) {
	case *ast.StarExpr:
		return typeOf(t.X)
	case *ast.ArrayType:
		kind, of = typeOf(t.Elt)
		return "list of " + kind, of
	case *ast.Ident:
		switch t.Name {
		case "string":
			return "text", ""
		case "int32", "int64", "int":
			return "number", ""
		case "bool":
			return "true or false", ""
		case "any":
			return "number or text", ""
		}
		return t.Name, t.Name
	}
	return "object", ""
}

// markdown makes the indented parts of a comment code.
func markdown(doc string) string {
	var out []string
	code := false
	for line := range strings.Lines(strings.TrimSpace(doc)) {
		line = strings.TrimSuffix(line, "\n")
		rest, indented := strings.CutPrefix(line, "\t")
		switch {
		case indented != code && indented:
			out = append(out, "```yaml")
		case indented != code:
			out = append(out, "```")
		}
		code = indented
		out = append(out, rest)
	}
	if code {
		out = append(out, "```")
	}
	return strings.Join(out, "\n")
}
