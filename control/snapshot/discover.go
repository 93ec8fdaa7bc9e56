package snapshot

import (
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// codeUndiscovered is about namespaces that no discovery selector picks.
const codeUndiscovered = "WEFT0216"

// nameLabel is the label that each namespace has by itself.
const nameLabel = "kubernetes.io/metadata.name"

// always are kinds that selectors are asked with, or that are no user's to hide.
var always = []model.Kind{model.KindNamespace, model.KindMeshConfig, model.KindQuarantine, model.KindKeySet, model.KindTrustBundle, model.KindProcess}

// discovery says which namespaces the mesh looks at (discoverySelectors), and what
// labels they have.
type discovery struct {
	mesh   *model.Mesh
	labels map[string]map[string]string // of namespaces
	known  map[string]bool              // what shows has found out
}

// discover finds out what namespaces are looked at; true: it may be others than before.
// A namespace of which no source has the object has the label of its name only.
func (m *merger) discover() bool {
	before := m.discovery
	if before != nil && before.mesh == m.mesh && !m.touched(model.KindNamespace) {
		return false
	}
	m.discovery = &discovery{mesh: m.mesh, labels: map[string]map[string]string{}, known: map[string]bool{}}
	for k, o := range m.kinds[model.KindNamespace] {
		m.discovery.labels[k.Name] = o.Head().Labels
	}
	by := func(x *model.Mesh) bool { return len(x.Discovery) > 0 || x.Entries != nil }
	return by(m.mesh) || before != nil && by(before.mesh)
}

// shows tells whether objects of a namespace count.
func (d *discovery) shows(namespace string) bool {
	if namespace == "" || len(d.mesh.Discovery) == 0 {
		return true
	}
	show, asked := d.known[namespace]
	if !asked {
		labels := d.labelsOf(namespace)
		show = slices.ContainsFunc(d.mesh.Discovery, func(s *model.LabelSelector) bool { return s.Matches(labels) })
		d.known[namespace] = show
	}
	return show
}

// labelsOf are a namespace's labels, with that of its name.
func (d *discovery) labelsOf(namespace string) map[string]string {
	out := map[string]string{nameLabel: namespace}
	maps.Copy(out, d.labels[namespace])
	return out
}

// counts tells whether an object is one that the mesh looks at.
func (m *merger) counts(o model.Object) bool {
	k := o.Head().Key
	return m.discovery.shows(k.Namespace) || slices.Contains(always, k.Kind)
}

// undiscovered names the namespaces that have objects which do not count.
func (m *merger) undiscovered() (out []model.Finding) {
	if len(m.mesh.Discovery) == 0 {
		return nil
	}
	seen := map[string]bool{}
	for kind, all := range m.kinds {
		for k := range all {
			if slices.Contains(always, kind) || seen[k.Namespace] || m.discovery.shows(k.Namespace) {
				continue
			}
			seen[k.Namespace] = true
			f := model.Finding{
				Code: codeUndiscovered, Severity: model.Info, Object: m.mesh.Key, Field: "discoverySelectors",
				Message: "no selector picks the namespace " + k.Namespace + ": its objects do not count",
				Remedy:  "nothing, if that is meant; else label the namespace",
			}
			if m.discovery.labels[k.Namespace] == nil {
				f.Message += " (no Namespace object says which labels it has)"
			}
			f.Origin = m.mesh.At(f.Field)
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b model.Finding) int { return strings.Compare(a.Message, b.Message) })
	return out
}
