// Package formula evaluates expressions over named numbers, as people write them in limits: "30/{pod}",
// "{{._base.cpu.sum}}>100 & {{.v1.rps}}<20".
//
// A name stands in braces, single or double; everything else is CEL (with its functions of math), in which all
// numbers are real, and a single & or | means && or ||. An expression is compiled once and may be used by many.
// It can do nothing but arithmetic: what it costs is bounded by its length.
package formula

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// longest bounds an expression's text.
const longest = 4096

// Formula is a compiled expression.
type Formula struct {
	names   []string
	program cel.Program
	boolean bool
}

// ErrMissing is wrapped by errors of Value and True about a name that has no number.
var ErrMissing = errors.New("has no value")

const numbers = "m"

var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(ext.Math(), cel.Variable(numbers, cel.MapType(cel.StringType, cel.DoubleType)))
})

// Compile reads an expression. qualify, when not nil, makes of each name the one that numbers are looked up by.
func Compile(text string, qualify func(string) string) (*Formula, error) {
	if len(text) > longest {
		return nil, fmt.Errorf("is longer than %d bytes", longest)
	}
	source, names, err := translate(text, qualify)
	if err != nil {
		return nil, err
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(source)
	if err := issues.Err(); err != nil {
		return nil, errors.New(plain(err, source))
	}
	f := &Formula{names: names}
	switch out := ast.OutputType(); {
	case out.IsExactType(cel.BoolType):
		f.boolean = true
	case !out.IsExactType(cel.DoubleType) && !out.IsExactType(cel.IntType):
		return nil, fmt.Errorf("is neither a number nor a condition, but a %s", out)
	}
	if f.program, err = env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(10_000)); err != nil {
		return nil, err
	}
	return f, nil
}

// plain is CEL's first complaint on one line, without its map of the text.
func plain(err error, source string) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	if _, rest, ok := strings.Cut(line, ": <input>:"); ok {
		if _, what, ok := strings.Cut(rest, ": "); ok {
			line = what
		}
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "ERROR: ")) + " (read as " + source + ")"
}

// Names are those that the expression uses, qualified, sorted.
func (f *Formula) Names() []string { return f.names }

// Boolean tells whether it is a condition.
func (f *Formula) Boolean() bool { return f.boolean }

func (f *Formula) eval(values func(string) (float64, bool)) (any, error) {
	m := make(map[string]float64, len(f.names))
	for _, n := range f.names {
		v, ok := values(n)
		if !ok {
			return nil, fmt.Errorf("{%s} %w", n, ErrMissing)
		}
		m[n] = v
	}
	out, _, err := f.program.Eval(map[string]any{numbers: m})
	if err != nil {
		return nil, err
	}
	switch v := out.(type) {
	case types.Bool:
		return bool(v), nil
	case types.Double:
		return float64(v), nil
	case types.Int:
		return float64(v), nil
	}
	return nil, fmt.Errorf("is a %s", out.Type())
}

// Value is the number that comes out: finite, or an error.
func (f *Formula) Value(values func(string) (float64, bool)) (float64, error) {
	out, err := f.eval(values)
	if err != nil {
		return 0, err
	}
	v, ok := out.(float64)
	switch {
	case !ok:
		return 0, errors.New("is a condition, not a number")
	case math.IsNaN(v) || math.IsInf(v, 0):
		return 0, errors.New("divides by zero")
	}
	return v, nil
}

// True tells whether a condition holds; a number does when it is not zero.
func (f *Formula) True(values func(string) (float64, bool)) (bool, error) {
	out, err := f.eval(values)
	if err != nil {
		return false, err
	}
	switch v := out.(type) {
	case bool:
		return v, nil
	case float64:
		return v != 0, nil
	}
	return false, nil
}

// translate makes CEL of the text, and collects its names.
func translate(text string, qualify func(string) string) (string, []string, error) {
	var b strings.Builder
	var names []string
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '{':
			name, next, err := template(text, i)
			if err != nil {
				return "", nil, err
			}
			if qualify != nil {
				name = qualify(name)
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			fmt.Fprintf(&b, "%s[%q]", numbers, name)
			i = next
		case c >= '0' && c <= '9' || c == '.' && i+1 < len(text) && digit(text[i+1]):
			i = number(&b, text, i)
		case letter(c):
			end := i
			for end < len(text) && (letter(text[end]) || digit(text[end]) || text[end] == '.') {
				end++
			}
			b.WriteString(text[i:end])
			i = end
		case c == '&' || c == '|':
			b.WriteString(string([]byte{c, c}))
			i++
			if i < len(text) && text[i] == c {
				i++
			}
		case c == '"' || c == '\'' || c == '`' || c == '[' || c == '}':
			return "", nil, fmt.Errorf("%q has no place in an expression of numbers", c)
		default:
			b.WriteByte(c)
			i++
		}
	}
	if strings.TrimSpace(b.String()) == "" {
		return "", nil, errors.New("is empty")
	}
	slices.Sort(names)
	return b.String(), names, nil
}

// number writes one as CEL writes reals.
func number(b *strings.Builder, text string, i int) int {
	begin, real := i, false
	for i < len(text) {
		switch c := text[i]; {
		case digit(c):
		case c == '.':
			real = true
		case (c == 'e' || c == 'E') && i+1 < len(text) && (digit(text[i+1]) || (text[i+1] == '-' || text[i+1] == '+') && i+2 < len(text) && digit(text[i+2])):
			real = true
			i++
		default:
			goto done
		}
		i++
	}
done:
	b.WriteString(text[begin:i])
	switch {
	case !real:
		b.WriteString(".0")
	case text[i-1] == '.':
		b.WriteByte('0')
	}
	return i
}

// template reads "{name}", or "{{.name}}", at i.
func template(text string, i int) (name string, next int, err error) {
	open, closing := "{", "}"
	if strings.HasPrefix(text[i:], "{{") {
		open, closing = "{{", "}}"
	}
	at := strings.Index(text[i:], closing)
	if at < 0 {
		return "", 0, fmt.Errorf("%q is not closed", text[i:])
	}
	name = strings.TrimPrefix(strings.TrimSpace(text[i+len(open):i+at]), ".")
	if name == "" || strings.HasSuffix(name, ".") || strings.IndexFunc(name, func(r rune) bool {
		return r != '.' && r != '_' && r != '-' && r != '/' && r != ':' && (r > 127 || !letter(byte(r)) && !digit(byte(r)))
	}) >= 0 {
		return "", 0, fmt.Errorf("%q is no name of a value", text[i:i+at+len(closing)])
	}
	return name, i + at + len(closing), nil
}

func digit(c byte) bool  { return c >= '0' && c <= '9' }
func letter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
