package scope

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/wire"
)

// fence is a ServiceFence that is up, with whom it is for.
type fence struct {
	*model.Fence
	selector map[string]string
}

// fences are the ServiceFences that are up.
type fences struct {
	settings *model.FenceSettings
	list     map[string][]fence // by namespace
	// marked are what Namespaces say.
	marked map[string]bool
	// next is when the first host that is listed until then is so no more, in Unix seconds; 0: never.
	next int64
	on   bool
}

// indexFences finds whom fences are for, and makes what a closed one is: a Sidecar that admits what the fence
// lists, and nothing that the mesh does not know.
func (x *Index) indexFences(now time.Time) {
	s := x.Snapshot
	x.fences = fences{settings: model.FenceSettingsOf(s.Boots), list: map[string][]fence{}, marked: map[string]bool{}, on: model.ModuleOn(s.Boots, model.ModuleLazyload)}
	if !x.fences.on {
		return
	}
	for _, n := range s.Namespaces {
		if on, ok := n.Fenced(); ok {
			x.fences.marked[n.Key.Name] = on
		}
	}
	for _, f := range s.Fences {
		if !f.Enabled {
			continue
		}
		up := fence{f, x.selectorOf(f)}
		x.fences.list[f.Key.Namespace] = append(x.fences.list[f.Key.Namespace], up)
		for _, h := range f.Hosts {
			if h.Until > now.Unix() && (x.fences.next == 0 || h.Until < x.fences.next) {
				x.fences.next = h.Until
			}
		}
		if f.Closed && len(up.selector) > 0 {
			x.sidecars[f.Key.Namespace] = append(x.sidecars[f.Key.Namespace], x.closed(up, now))
		}
	}
}

// selectorOf is whom a fence is for, as Slime ranks it.
func (x *Index) selectorOf(f *model.Fence) map[string]string {
	if len(f.Selector) > 0 {
		return f.Selector
	}
	if f.FromService {
		for _, s := range x.Snapshot.Services {
			if s.Namespace == f.Key.Namespace && s.Name == f.Key.Name && !s.FromEntry {
				return s.Selector
			}
		}
		return nil
	}
	return map[string]string{cmp.Or(x.fences.settings.WorkloadLabel, "app"): f.Key.Name}
}

// closed is the Sidecar that a closed fence is.
func (x *Index) closed(f fence, now time.Time) *model.Sidecar {
	out := &model.Sidecar{Meta: f.Meta, Selector: f.selector, OutboundPolicy: new(model.RegistryOnly)}
	hosts := map[string]bool{}
	for _, h := range x.listed(f.Fence, now) {
		if strings.Contains(h, "/") {
			hosts[h] = true
		} else {
			hosts["*/"+h] = true
		}
	}
	for _, n := range append(slices.Clone(f.Namespaces), x.Mesh.RootNamespace) {
		hosts[n+"/*"] = true
	}
	e := model.SidecarEgress{}
	for h := range hosts {
		e.Hosts = append(e.Hosts, h)
	}
	slices.Sort(e.Hosts)
	out.Egress = []model.SidecarEgress{e}
	return out
}

// listed are a fence's hosts ("host" or "namespace/*"), with their aliases and the services that it picks by labels.
func (x *Index) listed(f *model.Fence, now time.Time) []string {
	var out []string
	for _, h := range f.Hosts {
		if h.Until == 0 || h.Until > now.Unix() {
			out = append(out, h.Host)
		}
	}
	out = append(out, x.fences.settings.Hosts...)
	for _, s := range x.Snapshot.Services {
		for _, labels := range f.Labels {
			if model.Matches(labels, s.Labels) {
				out = append(out, s.Host)
				break
			}
		}
	}
	for _, a := range x.fences.settings.Aliases {
		re, err := regexp.Compile(a.Pattern)
		if err != nil {
			continue // the front end has said so
		}
		for _, h := range slices.Clone(out) {
			out = append(out, aliases(re, a.Templates, h)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// aliases are the names that templates make of a host: {{.name}} is the pattern's group of that name.
func aliases(re *regexp.Regexp, templates []string, host string) (out []string) {
	m := re.FindStringSubmatch(host)
	if m == nil {
		return nil
	}
	for _, t := range templates {
		for i, name := range re.SubexpNames() {
			if name != "" {
				t = strings.ReplaceAll(strings.ReplaceAll(t, "{{."+name+"}}", m[i]), "{{ ."+name+" }}", m[i])
			}
		}
		out = append(out, t)
	}
	return out
}

// sameFences tells whether fences are as before, also for services of other labels.
func (x *Index) sameFences(s *model.Snapshot) bool {
	if len(s.Fences) > 0 || len(s.Boots) > 0 || len(x.fences.marked) > 0 {
		if !sameList(x.Snapshot.Namespaces, s.Namespaces) || x.fences.next != 0 && x.fences.next <= time.Now().Unix() {
			return false
		}
	} else if slices.ContainsFunc(s.Namespaces, func(n *model.Namespace) bool { _, ok := n.Fenced(); return ok }) {
		return false
	}
	return sameList(x.Snapshot.Fences, s.Fences) && sameList(x.Snapshot.Boots, s.Boots)
}

// FencesOf are the ServiceFences that are up for a proxy; fenced tells also of a proxy that is fenced without one.
func (x *Index) FencesOf(p *Proxy) (list []*model.Fence, fenced bool) {
	if !x.fences.on || p.Gateway() {
		return nil, false
	}
	for _, f := range x.fences.list[p.Namespace()] {
		if len(f.selector) > 0 && model.Matches(f.selector, p.Labels()) {
			list = append(list, f.Fence)
		}
	}
	return list, len(list) > 0 || x.unwritten(p)
}

// unwritten tells whether a proxy is fenced without a ServiceFence: its services say so, or else its namespace, or
// else the settings of the module. Aeraki's annotation needs no module.
func (x *Index) unwritten(p *Proxy) bool {
	if p.Workload != nil {
		for _, s := range x.Served(p.Workload) {
			if on, ok := s.Fenced(); ok {
				return on
			}
		}
	}
	if on, ok := x.fences.marked[p.Namespace()]; ok {
		return on
	}
	return x.fences.settings.Covers(p.Namespace()) && x.fences.settings.Default
}

// Static are the clusters of what the fences of a proxy list by name: it has them before it asks.
func (x *Index) Static(list []*model.Fence) (clusters []string) {
	now := time.Now()
	for _, f := range list {
		for _, h := range x.listed(f, now) {
			for _, s := range x.services.Get(h) {
				for _, port := range s.Ports {
					if port.Protocol != model.UDP {
						clusters = append(clusters, wire.ClusterName(wire.Outbound, port.Port, "", h))
					}
				}
			}
		}
	}
	slices.Sort(clusters)
	return slices.Compact(clusters)
}
