package cel

import (
	"fmt"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/proxy/filter"
)

// Value is a compiled expression whose value may be of any type. It may name what
// only Istio's filters know: node, upstream_peer, downstream_peer, filter_state.
type Value struct {
	p    cel.Program
	node any
}

// CompileValue checks an expression's syntax; a name that nobody knows is found
// out when it is evaluated, as by Istio's proxy. node is the variable of that name.
func CompileValue(expression string, node map[string]any) (*Value, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Parse(expression)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	return valueOf(env, ast, node)
}

// ParsedValue compiles an expression that others have parsed.
func ParsedValue(e *exprpb.Expr) (*Value, error) {
	env, err := environment()
	if err != nil {
		return nil, err
	}
	return valueOf(env, cel.ParsedExprToAst(&exprpb.ParsedExpr{Expr: e}), nil)
}

func valueOf(env *cel.Env, ast *cel.Ast, node any) (*Value, error) {
	p, err := env.Program(ast)
	if err != nil {
		return nil, err
	}
	return &Value{p: p, node: node}, nil
}

// Text is the value as a label; "unknown" when there is none.
func (v *Value) Text(i *filter.Info) string {
	if s, ok := v.Lookup(i); ok {
		return s
	}
	return "unknown"
}

// Lookup is the value as text; false: it is an error, or null.
func (v *Value) Lookup(i *filter.Info) (string, bool) {
	out, _, err := v.p.Eval(peers{activation{i}, v.node})
	if err != nil || types.IsError(out) {
		return "", false
	}
	switch x := out.Value().(type) {
	case string:
		return x, true
	case []byte:
		return string(x), true
	case bool:
		return strconv.FormatBool(x), true
	case int64:
		return strconv.FormatInt(x, 10), true
	case uint64:
		return strconv.FormatUint(x, 10), true
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64), true
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano), true
	case time.Duration:
		return strconv.FormatFloat(x.Seconds(), 'f', -1, 64) + "s", true
	case nil, structpb.NullValue:
		return "", false
	default:
		return fmt.Sprint(x), true
	}
}

// peers adds what Istio's filters know.
type peers struct {
	activation
	node any
}

// ResolveName implements interpreter.Activation.
func (p peers) ResolveName(name string) (any, bool) {
	switch name {
	case "node":
		return p.node, p.node != nil
	case filter.StateUpstreamPeer, filter.StateDownstreamPeer:
		if peer := p.i.PeerOf(name); peer != nil {
			return peer.Attributes(), true
		}
		return nil, false
	case "filter_state":
		m := make(map[string]any, len(p.i.FilterState)+2)
		for k, v := range p.i.FilterState {
			m[k] = v
		}
		for _, k := range [...]string{filter.StateUpstreamPeer, filter.StateDownstreamPeer} {
			if peer := p.i.PeerOf(k); peer != nil {
				m[k] = peer.Attributes()
			}
		}
		return m, true
	}
	return p.activation.ResolveName(name)
}

// Parent implements interpreter.Activation.
func (peers) Parent() interpreter.Activation { return nil }
