package cel

import (
	"fmt"
	"strconv"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

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
	p, err := env.Program(ast)
	if err != nil {
		return nil, err
	}
	return &Value{p: p, node: node}, nil
}

// Text is the value as a label; "unknown" when there is none.
func (v *Value) Text(i *filter.Info) string {
	const unknown = "unknown"
	out, _, err := v.p.Eval(peers{activation{i}, v.node})
	if err != nil || types.IsError(out) {
		return unknown
	}
	switch x := out.Value().(type) {
	case string:
		return x
	case []byte:
		return string(x)
	case bool:
		return strconv.FormatBool(x)
	case int64:
		return strconv.FormatInt(x, 10)
	case uint64:
		return strconv.FormatUint(x, 10)
	case float64:
		return strconv.FormatFloat(x, 'g', -1, 64)
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano)
	case time.Duration:
		return strconv.FormatFloat(x.Seconds(), 'f', -1, 64) + "s"
	case nil:
		return unknown
	default:
		return fmt.Sprint(x)
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
