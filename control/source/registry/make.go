package registry

import (
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// hostKey is a service of the mesh.
type hostKey struct{ space, host string }

func (a hostKey) compare(b hostKey) int {
	return strings.Compare(a.space+"/"+a.host, b.space+"/"+b.host)
}

// part is what one service of a registry adds to a service of the mesh.
type part struct {
	of   *follower
	from *service
	at   hostKey
	list []Instance
}

// live: the registry has these instances.
func (p *part) live() bool { return p.from.emptySince.IsZero() }

// refresh makes the parts of a service anew.
func (s *Source) refresh(f *follower, known *service, dirty map[hostKey]bool) {
	s.detach(known, dirty)
	known.parts = s.parts(f, known)
	for _, p := range known.parts {
		h := s.hosts[p.at]
		if h == nil {
			h = &host{}
			s.hosts[p.at] = h
		}
		h.parts = append(h.parts, p)
		dirty[p.at] = true
	}
}

// detach takes a service out of those of the mesh.
func (s *Source) detach(known *service, dirty map[hostKey]bool) {
	for _, p := range known.parts {
		h := s.hosts[p.at]
		h.parts = slices.DeleteFunc(h.parts, func(q *part) bool { return q == p })
		dirty[p.at] = true
	}
	known.parts = nil
}

func (s *Source) forget(f *follower, known *service, dirty map[hostKey]bool) {
	s.detach(known, dirty)
	delete(f.services, known.Name)
}

// drop takes out all that a registry has.
func (s *Source) drop(f *follower, dirty map[hostKey]bool) {
	for _, known := range f.services {
		s.detach(known, dirty)
	}
}

// remake makes all parts of a registry anew.
func (s *Source) remake(f *follower, dirty map[hostKey]bool) {
	for _, known := range f.services {
		s.refresh(f, known, dirty)
	}
}

// parts selects, relabels and names the instances of a service.
func (s *Source) parts(f *follower, known *service) []*part {
	r := f.spec
	known.unusable = ""
	if !s.wanted(r, known) {
		return nil
	}
	selectors := r.Selectors
	if own, ok := r.ByService[known.Name]; ok {
		selectors = own
	}
	var out []*part
	for _, in := range known.Instances {
		if in.Off || !picked(selectors, in) || s.abnormal(known, in) {
			continue
		}
		if in.Unusable != "" {
			known.unusable = in.Address + " " + in.Unusable
			continue
		}
		a, err := netip.ParseAddr(in.Address)
		if err != nil {
			known.unusable = fmt.Sprintf("%q is not an IP address", in.Address)
			continue
		}
		in.Address = a.Unmap().String()
		if in.Port == 0 {
			known.unusable = in.Address + " has no port"
			continue
		}
		in.Labels = relabel(r, in.Labels)
		in.Labels["registryName"] = r.Key.Name
		if in.Protocol == model.Unknown {
			in.Protocol = r.Protocol
		}
		space := r.Space
		if v := in.Labels[r.SpaceKey]; r.SpaceKey != "" && document.IsLabel(v) {
			space = v
		}
		for _, h := range hosts(r, known, in, space) {
			if !document.IsSubdomain(h) {
				known.unusable = fmt.Sprintf("%q is not a host name", h)
				continue
			}
			at := hostKey{space, h}
			i := slices.IndexFunc(out, func(p *part) bool { return p.at == at })
			if i < 0 {
				i = len(out)
				out = append(out, &part{of: f, from: known, at: at})
			}
			out[i].list = append(out[i].list, in)
		}
	}
	return out
}

// wanted tells whether a service is taken at all.
func (s *Source) wanted(r *model.Registry, known *service) bool {
	match := func(pattern string) bool {
		if ok, err := path.Match(pattern, known.Name); ok && err == nil {
			return true
		}
		ok, err := path.Match(pattern, known.Host)
		return ok && err == nil
	}
	if len(r.Include) > 0 && !slices.ContainsFunc(r.Include, match) || slices.ContainsFunc(r.Exclude, match) {
		return false
	}
	if known.Dubbo == nil || r.Type != model.ZooKeeper {
		return true
	}
	limited := false
	for _, p := range s.patches {
		if slices.Contains(p.Available, known.Dubbo.String()) {
			return true
		}
		limited = limited || len(p.Available) > 0
	}
	return !limited
}

// abnormal tells whether Slime's RegistrySource leaves an instance out.
func (s *Source) abnormal(known *service, in Instance) bool {
	if known.Dubbo == nil {
		return false
	}
	for _, p := range s.patches {
		if slices.Contains(p.Abnormal[""], in.Address) || slices.Contains(p.Abnormal[known.Dubbo.String()], in.Address) {
			return true
		}
	}
	return false
}

// picked tells whether one of the selectors picks an instance; without any all are.
func picked(selectors []model.InstanceSelector, in Instance) bool {
	return len(selectors) == 0 || slices.ContainsFunc(selectors, func(x model.InstanceSelector) bool {
		if !x.Matches(in.Labels) {
			return false
		}
		a, err := netip.ParseAddr(in.Address)
		return err != nil || !slices.ContainsFunc(x.Without, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	})
}

// relabel makes the labels of an instance of its metadata.
func relabel(r *model.Registry, meta map[string]string) map[string]string {
	out := maps.Clone(meta)
	if out == nil {
		out = map[string]string{}
	}
	for _, item := range r.Relabel {
		v, there := out[item.Key]
		if !there {
			if item.Created == "" {
				continue
			}
			v = item.Created
		}
		if to, mapped := item.Values[v]; mapped {
			v = to
		}
		if _, taken := out[item.Target]; !taken || item.Overwrite || item.Target == item.Key {
			out[item.Target] = v
		}
	}
	return out
}

// hosts are the names under which an instance is reached, the first is its own.
func hosts(r *model.Registry, known *service, in Instance, space string) []string {
	name := known.Name
	if known.Host != "" {
		name = known.Host
	}
	if d := known.Dubbo; d != nil {
		name = d.Interface
		if !r.MergeVersions {
			for _, more := range []string{d.Group, d.Version} {
				if more != "" && more != "0.0.0" {
					name += "-" + more
				}
			}
		}
	}
	if len(r.Naming.Parts) > 0 {
		var words []string
		for _, p := range r.Naming.Parts {
			switch p.Kind {
			case "service":
				words = append(words, name)
			case "metadata":
				if v := in.Labels[p.Value]; v != "" {
					words = append(words, v)
				}
			case "namespace":
				words = append(words, space)
			case "static":
				words = append(words, p.Value)
			}
		}
		name = strings.Join(words, r.Naming.Separator)
	}
	out := []string{spelled(name) + r.HostSuffix}
	for _, key := range []string{out[0], known.Name} {
		for _, a := range r.Aliases[key] {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// spelled writes a name as a host may be written: in lower case, with '-' for what hosts do not have.
func spelled(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '-':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c < 128:
			return '-'
		}
		return c // judged later
	}, name)
}
