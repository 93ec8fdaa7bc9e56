// Package compare tells what the proxies of one mesh get otherwise than those of
// another: which resources are new, gone or different, and in which fields.
//
// Proxies whose differences are the same are one Group. Resources are compared by
// their versions first, so that what is the same costs next to nothing, and then
// field by field, packed messages too. A difference that only shows in what Envoy's
// API marks as sensitive is told, and its content is not.
//
// The package decides nothing about what a difference means, and prints nothing.
package compare

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/translate"
)

// Result is all that is different.
type Result struct {
	// Proxies is how many there are in either mesh, Affected how many of them get
	// something else, Resources how many resources are different, each counted once.
	Proxies   int `json:"proxies"`
	Affected  int `json:"affected"`
	Resources int `json:"resources"`
	// Added and Removed are proxies that only one mesh has.
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	// Groups are in the order of their first proxies.
	Groups []Group `json:"groups"`
	// New and Gone are Findings that only one mesh has.
	New  []model.Finding `json:"newFindings"`
	Gone []model.Finding `json:"goneFindings"`
}

// Empty tells whether nothing is different for any proxy.
func (r *Result) Empty() bool { return r.Affected == 0 }

// Group is proxies for which the same is different.
type Group struct {
	Proxies   []string   `json:"proxies"`
	Resources []Resource `json:"resources"`
}

// Kinds of differences.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
	// Hidden: what is not to be shown is different.
	Hidden = "hidden"
	// Moved: the same elements of a list come in another order.
	Moved = "moved"
)

// Resource is one that is different.
type Resource struct {
	// Type is as people call it: "Listener".
	Type string `json:"type"`
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Changes are those of a resource that is Changed.
	Changes []Change `json:"changes,omitempty"`
	// Body is that of one which is Added.
	Body json.RawMessage `json:"body,omitempty"`

	old, now *resource.Resource
}

// Change is a difference in one field.
type Change struct {
	// Path of the field; an element of a list by its name where it has one, else by
	// its index: "virtualHosts[reviews:9080].routes[0].route.timeout".
	Path string `json:"path"`
	Kind string `json:"kind"`
	Old  any    `json:"old,omitempty"`
	New  any    `json:"new,omitempty"`
	// By is the object that the part belongs to, as Istio's metadata says:
	// "VirtualService default/reviews".
	By string `json:"by,omitempty"`
}

// Meshes compares two meshes.
func Meshes(old, now *offline.Mesh) (*Result, error) {
	out := &Result{Added: []string{}, Removed: []string{}, Groups: []Group{}}
	before, findings := made(old)
	after, later := made(now)
	out.New, out.Gone = without(later, findings), without(findings, later)
	names := slices.Sorted(maps.Keys(before))
	for n := range after {
		if before[n] == nil {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	out.Proxies = len(names)
	groups := map[string]int{}
	seen := map[string]bool{}
	for _, n := range names {
		switch {
		case before[n] == nil:
			out.Added = append(out.Added, n)
			continue
		case after[n] == nil:
			out.Removed = append(out.Removed, n)
			continue
		}
		list := differing(before[n], after[n])
		if len(list) == 0 {
			continue
		}
		key := keyOf(list)
		i, known := groups[key]
		if !known {
			i = len(out.Groups)
			groups[key] = i
			out.Groups = append(out.Groups, Group{Resources: list})
		}
		out.Groups[i].Proxies = append(out.Groups[i].Proxies, n)
		out.Affected++
		for _, r := range list {
			seen[r.Type+"\x00"+r.Name] = true
		}
	}
	out.Affected += len(out.Added) + len(out.Removed)
	out.Resources = len(seen)
	return out, out.look()
}

// made is what each proxy gets, by name, and all Findings.
func made(m *offline.Mesh) (map[string]*translate.Resources, []model.Finding) {
	out := map[string]*translate.Resources{}
	findings := slices.Clone(m.Snapshot.Findings)
	m.Each(m.Proxies, func(p offline.Proxy, r *translate.Resources, f []model.Finding) {
		out[p.Name()] = r
		findings = append(findings, f...)
	})
	return out, findings
}

// without returns the Findings of a list that another does not have, wherever they stand.
func without(list, other []model.Finding) []model.Finding {
	plain := func(f model.Finding) model.Finding {
		f.Origin = model.Origin{}
		return f
	}
	has := map[model.Finding]bool{}
	for _, f := range other {
		has[plain(f)] = true
	}
	out := []model.Finding{}
	for _, f := range list {
		if !has[plain(f)] {
			has[plain(f)] = true
			out = append(out, f)
		}
	}
	return out
}

// differing lists the resources of which two proxies have different versions.
func differing(old, now *translate.Resources) (out []Resource) {
	urls := map[string]bool{}
	for url := range old.ByType {
		urls[url] = true
	}
	for url := range now.ByType {
		urls[url] = true
	}
	for url := range urls {
		typ := console.TypeName(url)
		for _, r := range now.Of(url) {
			was, there := old.Get(url, r.Name)
			switch {
			case r.Body == nil:
			case !there:
				out = append(out, Resource{Type: typ, Name: r.Name, Kind: Added, now: r})
			case was.Version != r.Version:
				out = append(out, Resource{Type: typ, Name: r.Name, Kind: Changed, old: was, now: r})
			}
		}
		for _, r := range old.Of(url) {
			if _, there := now.Get(url, r.Name); !there && r.Body != nil {
				out = append(out, Resource{Type: typ, Name: r.Name, Kind: Removed, old: r})
			}
		}
	}
	slices.SortFunc(out, func(a, b Resource) int {
		return cmp.Or(cmp.Compare(rank(a.Type), rank(b.Type)), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// order is that in which a request meets resources.
var order = []string{"Listener", "Route", "VirtualHost", "Cluster", "Endpoint", "Secret"}

func rank(typ string) int {
	if i := slices.Index(order, typ); i >= 0 {
		return i
	}
	return len(order)
}

func keyOf(list []Resource) string {
	var b strings.Builder
	for _, r := range list {
		b.WriteString(r.Type + "\x00" + r.Name + "\x00" + version(r.old) + "\x00" + version(r.now) + "\n")
	}
	return b.String()
}

func version(r *resource.Resource) string {
	if r == nil {
		return ""
	}
	return r.Version
}

// look fills in what is different, once for each pair of versions.
func (r *Result) look() error {
	known := map[[2]*resource.Resource][]Change{}
	for g := range r.Groups {
		list := r.Groups[g].Resources
		for i := range list {
			x := &list[i]
			var err error
			switch x.Kind {
			case Added:
				x.Body, err = body(x.now)
			case Changed:
				pair := [2]*resource.Resource{x.old, x.now}
				if _, done := known[pair]; !done {
					known[pair], err = changes(x.old, x.now)
				}
				x.Changes = known[pair]
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// body is a resource as JSON, without what is not to be shown.
func body(r *resource.Resource) (json.RawMessage, error) {
	m, err := r.Body.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(translate.Redact(m))
}

func changes(old, now *resource.Resource) ([]Change, error) {
	var trees [2]any
	for i, r := range []*resource.Resource{old, now} {
		raw, err := body(r)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, &trees[i]); err != nil {
			return nil, err
		}
	}
	d := &differ{}
	d.compare("", trees[0], trees[1])
	if len(d.changes) == 0 {
		return []Change{{Kind: Hidden}}, nil
	}
	return d.changes, nil
}
