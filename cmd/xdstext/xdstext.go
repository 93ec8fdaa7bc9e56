// Package xdstext shows xDS resources to people: as tables with what one asks for
// first, as YAML and JSON, and as structured differences that name the paths of
// fields.
//
// It guarantees that private keys are in none of its output, and that the same
// resources give the same text. It reads messages and knows no mesh.
package xdstext

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

// Type is one type of resource.
type Type struct {
	// Name is what people write, in the plural: "listeners".
	Name string
	URL  string
}

// Short is what one resource of the type is called: "Listener".
func (t Type) Short() string { return console.TypeName(t.URL) }

// Types are all that a proxy gets, in the order in which a request meets them.
var Types = []Type{
	{"listeners", wire.TypeListener},
	{"routes", wire.TypeRoute},
	{"virtualhosts", wire.TypeVirtualHost},
	{"clusters", wire.TypeCluster},
	{"endpoints", wire.TypeEndpoint},
	{"secrets", wire.TypeSecret},
	{"hosts", wire.TypeHost},
	{"workloads", wire.TypeWorkload},
}

// AllTypes is the name of all types together.
const AllTypes = "all"

// TypesByName returns the types that a name means: one, in the singular or plural,
// several with commas, or all.
func TypesByName(name string) ([]Type, error) {
	if name == AllTypes {
		return Types, nil
	}
	var out []Type
	for part := range strings.SplitSeq(strings.ToLower(name), ",") {
		i := slices.IndexFunc(Types, func(t Type) bool { return strings.TrimSuffix(part, "s") == strings.TrimSuffix(t.Name, "s") })
		if i < 0 {
			return nil, fmt.Errorf("no type %q: want one of %s", part, strings.Join(TypeNames(), ", "))
		}
		out = append(out, Types[i])
	}
	return out, nil
}

// TypeNames are those that TypesByName takes.
func TypeNames() []string {
	var out []string
	for _, t := range Types {
		out = append(out, t.Name)
	}
	return append(out, AllTypes)
}

// Group is what one proxy gets.
type Group struct {
	// Proxy is its name; Note says what it is.
	Proxy, Note string
	Resources   *translate.Resources
	// Types are those to show. Keep, when set, tells of which names.
	Types []Type
	Keep  func(name string) bool
}

// Any tells whether some groups have anything to show.
func Any(groups []Group) bool {
	return slices.ContainsFunc(groups, func(g Group) bool {
		return slices.ContainsFunc(g.Types, func(t Type) bool { return len(g.list(t)) > 0 })
	})
}

// list are the resources of a type that are to be shown, sorted by name.
func (g *Group) list(t Type) []*resource.Resource {
	return slices.DeleteFunc(slices.Clone(g.Resources.Of(t.URL)), func(r *resource.Resource) bool {
		return r.Body == nil || g.Keep != nil && !g.Keep(r.Name)
	})
}

// message is a resource's content, without what is not to be shown.
func message(r *resource.Resource) (proto.Message, error) {
	m, err := r.Body.UnmarshalNew()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.Name, err)
	}
	return translate.Redact(m), nil
}

// JSON writes an array with one object for each group: proxy and resources.
func JSON(w io.Writer, groups []Group) error {
	type shown struct {
		Proxy     string                   `json:"proxy"`
		Resources []console.ConfigResource `json:"resources"`
	}
	out := []shown{}
	for i := range groups {
		g := &groups[i]
		s := shown{Proxy: g.Proxy, Resources: []console.ConfigResource{}}
		for _, t := range g.Types {
			for _, r := range g.list(t) {
				body, err := jsonOf(r)
				if err != nil {
					return err
				}
				s.Resources = append(s.Resources, console.ConfigResource{Type: t.Short(), Name: r.Name, Version: r.Version, Body: body})
			}
		}
		out = append(out, s)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func jsonOf(r *resource.Resource) ([]byte, error) {
	m, err := message(r)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(m)
}

// YAML writes a document for each resource, whose "@type" is its type URL, behind a
// comment that says what it is and whose.
func YAML(w io.Writer, groups []Group) error {
	var b bytes.Buffer
	for i := range groups {
		g := &groups[i]
		for _, t := range g.Types {
			for _, r := range g.list(t) {
				body, err := jsonOf(r)
				if err != nil {
					return err
				}
				text, err := yaml.JSONToYAML(body)
				if err != nil {
					return fmt.Errorf("%s: %w", r.Name, err)
				}
				if b.Len() > 0 {
					b.WriteString("---\n")
				}
				fmt.Fprintf(&b, "# %s %s of %s\n%q: %s\n", t.Short(), r.Name, g.Proxy, "@type", t.URL)
				if !bytes.Equal(bytes.TrimSpace(text), []byte("{}")) {
					b.Write(text)
				}
			}
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// text joins what is set.
func text(sep string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), sep)
}

// orAll is a text, or "all" for none.
func orAll(s string) string { return cmp.Or(s, AllTypes) }
