package cel

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/ext"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"
)

// Enabled are the functions on strings that a rule may use: Envoy's
// CelExpressionConfig, where all are off at first.
type Enabled struct {
	Conversion bool // string()
	Concat     bool // +
	Functions  bool // replace, split, lowerAscii, upperAscii
}

// withStrings has the functions of Envoy that are not of the language itself.
func withStrings() (*cel.Env, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	return env.Extend(ext.Strings())
}

// CompileParsed compiles an expression that others have parsed. What is not
// enabled is refused.
func CompileParsed(e *exprpb.Expr, on Enabled) (*Program, error) {
	return compileLoaded(cel.ParsedExprToAst(&exprpb.ParsedExpr{Expr: e}), on)
}

// CompileChecked does so with one that others have checked.
func CompileChecked(e *exprpb.CheckedExpr, on Enabled) (*Program, error) {
	return compileLoaded(cel.CheckedExprToAst(e), on)
}

func compileLoaded(a *cel.Ast, on Enabled) (*Program, error) {
	if err := on.check(a); err != nil {
		return nil, err
	}
	env, err := withStrings()
	if err != nil {
		return nil, err
	}
	return program(env, a)
}

// check refuses calls of what is not enabled. Whether "+" joins strings shows
// where one of the sides is a literal.
func (on Enabled) check(a *cel.Ast) error {
	var err error
	ast.PreOrderVisit(ast.NavigateAST(a.NativeRep()), ast.NewExprVisitor(func(e ast.Expr) {
		if err != nil || e.Kind() != ast.CallKind {
			return
		}
		c := e.AsCall()
		switch name := c.FunctionName(); {
		case name == "string" && !on.Conversion:
			err = fmt.Errorf("string() is used, and enable_string_conversion is off")
		case name == "_+_" && !on.Concat && slices.ContainsFunc(c.Args(), isText):
			err = fmt.Errorf("strings are joined, and enable_string_concat is off")
		case slices.Contains(stringFunctions, name) && !on.Functions:
			err = fmt.Errorf("%s() is used, and enable_string_functions is off", name)
		}
	}))
	return err
}

var stringFunctions = []string{"replace", "split", "lowerAscii", "upperAscii"}

func isText(e ast.Expr) bool {
	if e.Kind() != ast.LiteralKind {
		return false
	}
	_, ok := e.AsLiteral().Value().(string)
	return ok
}

// LoadParsed compiles a serialized ParsedExpr, of cel.expr or of its older name:
// they are the same on the wire. Nothing but the language's own is enabled.
func LoadParsed(b []byte) (*Program, error) {
	m := &exprpb.ParsedExpr{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, err
	}
	return compileLoaded(cel.ParsedExprToAst(m), Enabled{})
}

// LoadChecked does so with a CheckedExpr.
func LoadChecked(b []byte) (*Program, error) {
	m := &exprpb.CheckedExpr{}
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, err
	}
	return CompileChecked(m, Enabled{})
}
