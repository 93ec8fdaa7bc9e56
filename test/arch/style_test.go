package arch

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// Bounds of the house style.
const (
	maxLines     = 600
	maxTestLines = 900
	maxFunc      = 80
	maxParams    = 5
)

// longFunctions are tables in the form of functions.
var longFunctions = []string{}

func TestSizes(t *testing.T) {
	for _, f := range files(t, false) {
		if f.lines > maxLines {
			t.Errorf("%s has %d lines, want at most %d: which two things live in it?", f.name, f.lines, maxLines)
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1; n > maxFunc && !slices.Contains(longFunctions, fn.Name.Name) {
				t.Errorf("%s: %s has %d lines, want at most %d", f.name, fn.Name.Name, n, maxFunc)
			}
			n := 0
			for _, p := range fn.Type.Params.List {
				n += max(1, len(p.Names))
			}
			if n > maxParams {
				t.Errorf("%s: %s has %d parameters, want at most %d: make it a struct", f.name, fn.Name.Name, n, maxParams)
			}
		}
	}
	for _, f := range files(t, true) {
		if f.lines > maxTestLines {
			t.Errorf("%s has %d lines, want at most %d", f.name, f.lines, maxTestLines)
		}
	}
}

func TestPackagesSayWhatTheyAre(t *testing.T) {
	said := map[string]bool{}
	for _, f := range files(t, false) {
		said[f.dir] = said[f.dir] || f.ast.Doc != nil && len(f.ast.Doc.Text()) > 60
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s: no package comment, or next to none", dir)
		}
	}
}

// documented are the parts whose every exported identifier has a comment.
var documented = []string{"api", "wire", "control/model", "proxy/filter", "base", "cli", "up", "host", "control", "proxy"}

func TestExportedIsDocumented(t *testing.T) {
	for _, f := range files(t, false) {
		if !slices.ContainsFunc(documented, func(p string) bool { return f.dir == p || strings.HasPrefix(f.dir, p+"/") }) {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d)) {
					t.Errorf("%s: %s has no comment", f.name, d.Name.Name)
				}
			case *ast.GenDecl:
				checkGen(t, f, d)
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// checkGen wants a comment on each exported type, and on each group of values.
func checkGen(t *testing.T, f file, d *ast.GenDecl) {
	t.Helper()
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
				t.Errorf("%s: %s has no comment", f.name, s.Name.Name)
			}
		case *ast.ValueSpec:
			if s.Names[0].IsExported() && s.Doc == nil && d.Doc == nil && s.Comment == nil && d.Tok == token.CONST && !d.Lparen.IsValid() {
				t.Errorf("%s: %s has no comment", f.name, s.Names[0].Name)
			}
		}
	}
}

// bans are calls that are not to be made outside tests, and what to do instead.
var bans = map[string]string{
	"time.After":         "it leaks until it fires: use a Timer and stop it",
	"context.Background": "take the caller's context",
	"context.TODO":       "take the caller's context",
	"net.ParseIP":        "use netip",
	"log.Printf":         "take a *slog.Logger",
	"log.Println":        "take a *slog.Logger",
}

func TestHouseRules(t *testing.T) {
	for _, f := range files(t, false) {
		first, _, _ := strings.Cut(f.dir, "/")
		if first == "examples" || first == "test" {
			continue
		}
		if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "misc"}, path.Base(f.dir)) {
			t.Errorf("%s: a package's name says what it is for", f.dir)
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s: init: register in an explicit list of the wiring page", f.name)
				}
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok {
					return true
				}
				if why, banned := bans[x.Name+"."+n.Sel.Name]; banned && (first != "cmd" || x.Name != "context") {
					t.Errorf("%s: %s.%s: %s", f.fset.Position(n.Pos()), x.Name, n.Sel.Name, why)
				}
			}
			return true
		})
	}
}
