// Package crd makes the CustomResourceDefinitions of the kinds that Weft reads, out of
// the shapes that its front ends check documents against: what a cluster lets in and what
// `weft analyze` takes are one thing.
//
// A schema has types, enumerations, bounds and alternatives. It knows no rules between
// objects, and none that its front end has in code: those are Findings. A field that Weft
// refuses or passes over is in the schema all the same, so that it is not pruned before
// somebody is told.
//
// Kinds of Kubernetes itself have none, nor have those that are for `weft up`.
package crd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/source/document"
)

// Definition is a CustomResourceDefinition (apiextensions.k8s.io/v1).
type Definition struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       spec     `json:"spec"`
}

type metadata struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations say which group's approval a protected group has.
	Annotations map[string]string `json:"annotations,omitempty"`
}

type spec struct {
	Group    string    `json:"group"`
	Scope    string    `json:"scope"`
	Names    names     `json:"names"`
	Versions []version `json:"versions"`
}

type names struct {
	Kind       string   `json:"kind"`
	ListKind   string   `json:"listKind"`
	Plural     string   `json:"plural"`
	Singular   string   `json:"singular"`
	ShortNames []string `json:"shortNames,omitempty"`
	Categories []string `json:"categories,omitempty"`
}

type version struct {
	Name         string                    `json:"name"`
	Served       bool                      `json:"served"`
	Storage      bool                      `json:"storage"`
	Schema       map[string]schema         `json:"schema"`
	Subresources map[string]map[string]any `json:"subresources"`
	Columns      []Column                  `json:"additionalPrinterColumns,omitempty"`
}

// schema is a structural OpenAPI schema.
type schema map[string]any

// Column is what `kubectl get` shows.
type Column struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Description string `json:"description,omitempty"`
	JSONPath    string `json:"jsonPath"`
}

// Label is on every definition, with the version's name as value.
const Label = "weft.dev/definitions"

// skipped are kinds that have no place in a cluster.
var skipped = []string{"Process", "Deleted"}

// Of returns the definitions of a decoder's kinds, ordered by their names.
func Of(dec *document.Decoder) []Definition {
	var out []Definition
	for _, f := range dec.FrontEnds() {
		if !strings.Contains(f.Group, ".") || strings.HasSuffix(f.Group, ".k8s.io") && !strings.HasPrefix(f.Group, "gateway.") || slices.Contains(skipped, f.Kind) {
			continue
		}
		out = append(out, definition(f))
	}
	slices.SortFunc(out, func(a, b Definition) int { return cmp.Compare(a.Metadata.Name, b.Metadata.Name) })
	return out
}

// YAML writes definitions as documents.
func YAML(list []Definition) ([]byte, error) {
	var out []byte
	for i := range list {
		doc, err := yaml.Marshal(&list[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", list[i].Metadata.Name, err)
		}
		if i > 0 {
			out = append(out, "---\n"...)
		}
		out = append(out, doc...)
	}
	return out, nil
}

func definition(f *document.FrontEnd) Definition {
	plural := Plural(f.Kind)
	d := Definition{
		APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition",
		Metadata: metadata{Name: plural + "." + f.Group, Labels: map[string]string{Label: "true"}},
		Spec: spec{
			Group: f.Group, Scope: "Namespaced",
			Names: names{
				Kind: f.Kind, ListKind: f.Kind + "List", Plural: plural, Singular: strings.ToLower(f.Kind),
				ShortNames: shortNames[f.Kind], Categories: []string{"weft"},
			},
		},
	}
	if f.Cluster {
		d.Spec.Scope = "Cluster"
	}
	if strings.HasSuffix(f.Group, ".k8s.io") {
		d.Metadata.Annotations = map[string]string{"api-approved.kubernetes.io": "unapproved, made by weft crds: install the project's own where you can"}
	}
	whole := object(f.Shape)
	for i, v := range f.Versions {
		d.Spec.Versions = append(d.Spec.Versions, version{
			Name: v, Served: true, Storage: i == 0, Schema: map[string]schema{"openAPIV3Schema": whole},
			Subresources: map[string]map[string]any{"status": {}}, Columns: append(slices.Clone(columns[f.Kind]), age),
		})
	}
	return d
}

// object is the schema of a whole document; apiVersion, kind and metadata are Kubernetes' own.
func object(s *document.Shape) schema {
	properties := schema{}
	m := maker{}
	for i := range s.Fields {
		f := &s.Fields[i]
		switch f.Name {
		case "apiVersion", "kind", "metadata":
		case "status":
			properties["status"] = open()
		default:
			properties[f.Name] = m.field(f)
		}
	}
	if properties["status"] == nil {
		properties["status"] = open()
	}
	return schema{"type": "object", "properties": properties}
}

// open is an object of which nothing is said.
func open() schema { return schema{"type": "object", "x-kubernetes-preserve-unknown-fields": true} }

// maker makes schemas of shapes.
type maker struct {
	within []*document.Shape // that is being made: shapes may be recursive
}

func (m *maker) field(f *document.Field) schema {
	s := m.of(f.Shape)
	if r := f.Rule; r.Max != 0 {
		bound(s, f.Shape, r.Min, r.Max)
	}
	return s
}

// bound bounds a number, or those in a list.
func bound(s schema, of *document.Shape, least, most int64) {
	switch of.Type {
	case document.List:
		bound(s["items"].(schema), of.Elem, least, most)
	case document.Map:
		bound(s["additionalProperties"].(schema), of.Elem, least, most)
	case document.Int:
		s["minimum"], s["maximum"] = least, most
	}
}

// duration is how Go and protobuf write one.
const duration = `^([0-9]+([.][0-9]*)?(h|m|s|ms|us|µs|ns))+$`

func (m *maker) of(s *document.Shape) schema {
	if slices.Contains(m.within, s) {
		return open()
	}
	m.within = append(m.within, s)
	defer func() { m.within = m.within[:len(m.within)-1] }()
	switch s.Type {
	case document.Object:
		return m.object(s)
	case document.List:
		return schema{"type": "array", "items": m.of(s.Elem)}
	case document.Map:
		return schema{"type": "object", "additionalProperties": m.of(s.Elem)}
	case document.Bool:
		return schema{"type": "boolean"}
	case document.Int:
		out := schema{"type": "integer", "format": "int64"}
		if s.Max != 0 {
			out["minimum"], out["maximum"] = s.Min, s.Max
		}
		return out
	case document.Float:
		return schema{"type": "number"}
	case document.Duration:
		return schema{"type": "string", "pattern": duration}
	case document.Enum:
		return schema{"type": "string", "enum": s.Values}
	case document.Bytes:
		return schema{"type": "string", "format": "byte"}
	case document.IntOrString:
		return schema{"x-kubernetes-int-or-string": true}
	case document.Time:
		return schema{"type": "string", "format": "date-time"}
	case document.String:
		return schema{"type": "string"}
	}
	return schema{"x-kubernetes-preserve-unknown-fields": true}
}

func (m *maker) object(s *document.Shape) schema {
	if len(s.Fields) == 0 {
		return open()
	}
	properties := schema{}
	for i := range s.Fields {
		properties[s.Fields[i].Name] = m.field(&s.Fields[i])
	}
	out := schema{"type": "object", "properties": properties}
	var all []schema
	for _, group := range s.OneOf {
		if len(group) > 1 {
			all = append(all, atMostOne(group))
		}
	}
	switch len(all) {
	case 0:
	case 1:
		maps.Copy(out, all[0])
	default:
		out["allOf"] = all
	}
	return out
}

// atMostOne lets in objects with none of some fields, or with one.
func atMostOne(group []string) schema {
	var any, one []schema
	for _, name := range group {
		any = append(any, schema{"required": []string{name}})
	}
	one = append(one, schema{"not": schema{"anyOf": any}})
	return schema{"oneOf": append(one, any...)}
}
