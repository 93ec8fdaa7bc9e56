package document

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// yaml11Bools are words that Kubernetes' YAML reads as booleans when they are
// not quoted, and this one does not.
var yaml11Bools = map[string]bool{
	"yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

func plain(n *yaml.Node) bool { return n.Style == 0 }

// scalar checks a scalar node against a scalar shape.
func (w *walker) scalar(n *yaml.Node, s *Shape, path string) (any, bool) {
	switch s.Type {
	case String:
		return w.text(n, path)
	case Bool:
		if b, ok := boolean(n); ok {
			return b, true
		}
	case Int:
		if i, ok := integer(n); ok && i >= s.Min && i <= s.Max {
			return i, true
		}
	case Float:
		if f, ok := finite(n); ok {
			return f, true
		}
	case Enum:
		return w.enum(n, s, path)
	case IntOrString:
		if i, ok := integer(n); ok && i >= s.Min && i <= s.Max {
			return i, true
		}
		if n.ShortTag() == "!!str" && n.Value != "" {
			return n.Value, true
		}
	case Duration:
		if d, err := time.ParseDuration(n.Value); err == nil {
			return protoDuration(d), true
		}
	case Time:
		if _, err := time.Parse(time.RFC3339, n.Value); err == nil {
			return n.Value, true
		}
	case Bytes:
		clean := strings.Map(dropSpace, n.Value)
		if _, err := base64.StdEncoding.DecodeString(clean); err == nil {
			return clean, true
		}
		// The content may be secret: it is not shown.
		w.fail(spot{n, path}, CodeType, "encode it with: base64 -w0, or use stringData", "must be base64")
		return nil, false
	}
	w.fail(spot{n, path}, CodeType, s.remedy(n), "must be %s, got %s", s.expects(), describe(n))
	return nil, false
}

func dropSpace(r rune) rune {
	if r == ' ' || r == '\n' || r == '\r' || r == '\t' {
		return -1
	}
	return r
}

func (w *walker) text(n *yaml.Node, path string) (any, bool) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		if _, word := yaml11Bools[n.Value]; !word || !plain(n) {
			return n.Value, true
		}
		w.fail(spot{n, path}, CodeType, fmt.Sprintf("write it in quotes: %q", n.Value), "must be a string; Kubernetes reads an unquoted %s as a boolean", n.Value)
	default:
		w.fail(spot{n, path}, CodeType, fmt.Sprintf("write it in quotes: %q", n.Value), "must be a string, got %s", describe(n))
	}
	return nil, false
}

func (w *walker) enum(n *yaml.Node, s *Shape, path string) (any, bool) {
	if slices.Contains(s.Values, n.Value) {
		return n.Value, true
	}
	w.fail(spot{n, path}, CodeValue, Suggest(n.Value, s.Values), "must be %s, got %s", s.expects(), describe(n))
	return nil, false
}

func boolean(n *yaml.Node) (b, ok bool) {
	if n.ShortTag() == "!!bool" {
		return n.Value == "true" || n.Value == "True" || n.Value == "TRUE", true
	}
	b, ok = yaml11Bools[n.Value]
	return b, ok && plain(n)
}

func integer(n *yaml.Node) (int64, bool) {
	if n.ShortTag() != "!!int" {
		return 0, false
	}
	var i int64
	if err := n.Decode(&i); err != nil {
		return 0, false
	}
	return i, true
}

func finite(n *yaml.Node) (float64, bool) {
	if t := n.ShortTag(); t != "!!float" && t != "!!int" {
		return 0, false
	}
	var f float64
	if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// protoDuration writes a duration as protobuf's JSON does.
func protoDuration(d time.Duration) string {
	sign := ""
	u := uint64(d)
	if d < 0 {
		sign, u = "-", -u
	}
	return fmt.Sprintf("%s%d.%09ds", sign, u/uint64(time.Second), u%uint64(time.Second))
}

// expects names what a shape wants.
func (s *Shape) expects() string {
	switch s.Type {
	case Object, Map:
		return "a mapping"
	case List:
		return "a list"
	case String:
		return "a string"
	case Bool:
		return "true or false"
	case Int:
		return s.rangeText()
	case Float:
		return "a number"
	case Enum:
		// UNSPECIFIED is protobuf's, nobody writes it.
		return "one of " + strings.TrimPrefix(strings.Join(s.Values, ", "), "UNSPECIFIED, ")
	case Bytes:
		return "base64"
	case IntOrString:
		return "a number or a name"
	case Duration:
		return `a duration such as "1.5s" or "250ms"`
	case Time:
		return `a time such as "2026-01-31T12:00:00Z"`
	default:
		return "a value"
	}
}

func (s *Shape) rangeText() string {
	top := s.Max == math.MaxInt32 || s.Max == math.MaxUint32 || s.Max == math.MaxInt64
	switch {
	case top && s.Min < 0:
		return "an integer"
	case top:
		return "an integer of " + strconv.FormatInt(s.Min, 10) + " or more"
	}
	return fmt.Sprintf("an integer from %d to %d", s.Min, s.Max)
}

// remedy says how to repair a scalar of the wrong type.
func (s *Shape) remedy(n *yaml.Node) string {
	switch s.Type {
	case Int, Float:
		if _, err := strconv.ParseFloat(n.Value, 64); err == nil && n.ShortTag() == "!!str" {
			return "remove the quotes"
		}
		if n.ShortTag() == "!!str" {
			return "write a number"
		}
	case Bool:
		if n.Value == "true" || n.Value == "false" {
			return "remove the quotes"
		}
		return Suggest(n.Value, []string{"true", "false"})
	case Duration:
		if n.ShortTag() == "!!int" || n.ShortTag() == "!!float" {
			return fmt.Sprintf("write %q for seconds", n.Value+"s")
		}
	}
	return ""
}

// describe names what a node is, in few words.
func describe(n *yaml.Node) string {
	switch {
	case isNull(n):
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	}
	v := n.Value
	if r := []rune(v); len(r) > 60 {
		v = string(r[:57]) + "..."
	}
	if n.ShortTag() == "!!str" || strings.ContainsAny(v, "\n\t") {
		return strconv.Quote(v)
	}
	return v
}

func examples(s *Shape) string {
	names := s.names()
	return strings.Join(names[:min(3, len(names))], ", ")
}

func listHint(n *yaml.Node, s *Shape) string {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 1 {
		return "remove the \"- \""
	}
	if n.Kind == yaml.ScalarNode && s.field("name") != nil {
		return fmt.Sprintf("write {name: %s}", n.Value)
	}
	return ""
}
