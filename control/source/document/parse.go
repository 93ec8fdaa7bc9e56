package document

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weftmesh/weft/control/model"
)

// parse makes nodes of a text. On failure it returns a message without line,
// and the line within the text.
func parse(text []byte) (root *yaml.Node, msg, remedy string, line int) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		msg, line = syntaxError(err)
		line = max(1, min(line, bytes.Count(bytes.TrimSpace(text), []byte("\n"))+1))
		return nil, msg, syntaxRemedy(msg, text, line), line
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, "", "", 0
	}
	return doc.Content[0], "", "", 0
}

var yamlLine = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s*)?(?:line (\d+): )?(.*)$`)

func syntaxError(err error) (msg string, line int) {
	first, _, _ := strings.Cut(err.Error(), "\n")
	m := yamlLine.FindStringSubmatch(first)
	if m == nil {
		return first, 1
	}
	if line, err = strconv.Atoi(m[1]); err != nil {
		line = 1
	}
	if strings.HasPrefix(m[2], "did not find expected") {
		line++ // the parser, unlike the scanner, counts from 0
	}
	return m[2], line
}

// syntaxRemedy says what people most often did wrong.
func syntaxRemedy(msg string, text []byte, line int) string {
	lines := strings.Split(string(text), "\n")
	for i := max(0, line-2); i < min(len(lines), line+1); i++ {
		if strings.Contains(lines[i][:len(lines[i])-len(strings.TrimLeft(lines[i], " \t"))], "\t") {
			return "indent with spaces, not tabs"
		}
	}
	switch {
	case strings.Contains(msg, "mapping values are not allowed"):
		return "check the indentation, and quote values that contain \": \""
	case strings.Contains(msg, "did not find expected"):
		return "check the indentation and that quotes and brackets are closed"
	case strings.Contains(msg, "found character that cannot start any token"):
		return "quote values that begin with @, ` or %"
	case strings.Contains(msg, "unknown anchor"):
		return "quote values that begin with *"
	}
	return "check the YAML around this line"
}

var (
	guessKind = regexp.MustCompile(`(?m)^kind:[ \t]*["']?([A-Za-z]+)`)
	guessName = regexp.MustCompile(`(?m)^metadata:[ \t]*(?:\{[^}\n]*?|(?:[ \t]*#.*)?\n(?:[ \t]+.*\n)*?[ \t]+)name:[ \t]*["']?([a-z0-9.-]+)`)
	guessNS   = regexp.MustCompile(`(?m)^metadata:[ \t]*(?:\{[^}\n]*?|(?:[ \t]*#.*)?\n(?:[ \t]+.*\n)*?[ \t]+)namespace:[ \t]*["']?([a-z0-9-]+)`)
)

// guess finds out which object a text that is no YAML was meant to be, so that
// its last good version can stay. The result is zero when there is no telling.
func guess(text []byte) model.Key {
	kind, name := guessKind.FindSubmatch(text), guessName.FindSubmatch(text)
	if kind == nil || name == nil {
		return model.Key{}
	}
	k := model.Key{Kind: model.Kind(kind[1]), Namespace: DefaultNamespace, Name: string(name[1])}
	if ns := guessNS.FindSubmatch(text); ns != nil {
		k.Namespace = string(ns[1])
	}
	return k
}

// child returns the value of a key of a mapping node, or nil.
func child(n *yaml.Node, name string) *yaml.Node {
	if n = resolve(n); n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return resolve(n.Content[i+1])
		}
	}
	return nil
}

// word returns the text of a scalar child, or "".
func word(n *yaml.Node, name string) string {
	if c := child(n, name); c != nil && c.Kind == yaml.ScalarNode && !isNull(c) {
		return c.Value
	}
	return ""
}
