package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
)

// ObjectSummary is one object as `weft get` lists it.
type ObjectSummary struct {
	model.Key
	Source string            `json:"source"`
	Labels map[string]string `json:"labels,omitempty"`
	Hosts  []string          `json:"hosts,omitempty"`
	// Findings of the object.
	Findings []model.Finding `json:"findings,omitempty"`
	// Status, when asked for.
	Status *ObjectStatus `json:"status,omitempty"`
	// Raw is the document as written, when asked for; a comment that says why it
	// is not to be had.
	Raw string `json:"raw,omitempty"`
}

// objects lists objects: ?kind=&namespace=&name=&raw=true&status=true. With a status
// those are listed too that are refused and never were in force.
func (c *Console) objects(w http.ResponseWriter, r *http.Request) {
	s := c.Snapshots.Load()
	if s == nil {
		fail(w, http.StatusServiceUnavailable, "no configuration yet")
		return
	}
	q := r.URL.Query()
	if strings.EqualFold(q.Get("kind"), string(model.KindConfigMap)) {
		q.Set("kind", string(model.KindMeshConfig)) // the only one that is ours; see Find
	}
	findings := c.byObject()
	asked := func(k model.Key) bool {
		return wanted(q.Get("kind"), string(k.Kind)) && wanted(q.Get("namespace"), k.Namespace) && wanted(q.Get("name"), k.Name)
	}
	out := []ObjectSummary{}
	for k, o := range s.Objects.All {
		if !asked(k) {
			continue
		}
		meta := o.Head()
		sum := ObjectSummary{Key: k, Source: meta.Origin.String(), Labels: meta.Labels, Hosts: hosts(o), Findings: findings[k]}
		if q.Get("raw") == "true" {
			raw, err := c.Store.Raw(k, meta.Origin)
			switch {
			case err == nil:
				sum.Raw = string(raw)
			case q.Get("name") != "":
				fail(w, http.StatusInternalServerError, "%s: %v", k.Title(), err)
				return
			default: // one must not hide the others
				sum.Raw = "# " + k.Title() + ": " + err.Error()
			}
		}
		out = append(out, sum)
	}
	if q.Get("status") == "true" {
		out = c.addStatus(s, out, findings, asked)
		if q.Get("raw") == "true" {
			c.addRefused(out)
		}
	}
	slices.SortFunc(out, func(a, b ObjectSummary) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	reply(w, out)
}

// byObject are all Findings, by the objects that they are about.
func (c *Console) byObject() map[model.Key][]model.Finding {
	out := map[model.Key][]model.Finding{}
	for _, f := range c.allFindings() {
		out[f.Object] = append(out[f.Object], f)
	}
	return out
}

// Statuses are the objects that are asked for, with their status; those, too, that are refused and
// never were in force. Nil: there is no configuration yet.
func (c *Console) Statuses(asked func(model.Key) bool) []ObjectSummary {
	s := c.Snapshots.Load()
	if s == nil {
		return nil
	}
	var out []ObjectSummary
	findings := c.byObject()
	for k, o := range s.Objects.All {
		if asked(k) {
			out = append(out, ObjectSummary{Key: k, Source: o.Head().Origin.String(), Findings: findings[k]})
		}
	}
	return c.addStatus(s, out, findings, asked)
}

// addStatus gives objects their status, and adds those that are not in force.
func (c *Console) addStatus(s *model.Snapshot, list []ObjectSummary, findings map[model.Key][]model.Finding, asked func(model.Key) bool) []ObjectSummary {
	keys := make([]model.Key, len(list))
	for i := range list {
		keys[i] = list[i].Key
	}
	reach := c.Proxies.Reach(keys)
	for i := range list {
		var r *fleet.Reach
		if x, ok := reach[list[i].Key]; ok {
			r = &x
		}
		list[i].Status = statusOf(true, list[i].Findings, r)
		list[i].Status.Version = s.Ages.Get(list[i].Key).Formed
		switch o := s.Objects.Get(list[i].Key).(type) {
		case *model.Fence:
			list[i].Status.SlimeStatus = c.fenceStatus(o, time.Now())
		case *model.SmartLimiter:
			list[i].Status.SlimeStatus = limiterStatus(s, o)
		}
	}
	for k, f := range findings {
		if k.Name == "" || s.Objects.Get(k) != nil || !asked(k) || !slices.ContainsFunc(f, func(x model.Finding) bool { return finding.Condition(x) == finding.Accepted }) {
			continue
		}
		list = append(list, ObjectSummary{Key: k, Source: f[0].Origin.String(), Findings: f, Status: statusOf(false, f, nil)})
	}
	c.transitions.keep(func(k model.Key) bool { return s.Objects.Get(k) != nil || len(findings[k]) > 0 })
	for i := range list {
		date(list[i].Status.Conditions, c.Proxies.History(list[i].Key, list[i].Findings), list[i].Status.Reach)
		c.transitions.mark(list[i].Key, list[i].Status.Conditions)
		c.gatewayAPI(s, &list[i])
	}
	return list
}

// addRefused adds the text of objects that never were in force, as far as it is to be had.
func (c *Console) addRefused(list []ObjectSummary) {
	for i := range list {
		if o := &list[i]; o.Raw == "" && len(o.Findings) > 0 && o.Status != nil && o.Status.Version == 0 {
			raw, err := c.Store.Raw(o.Key, o.Findings[0].Origin)
			if err != nil {
				raw = []byte("# " + o.Key.Title() + ": " + err.Error())
			}
			o.Raw = string(raw)
		}
	}
}

func wanted(want, got string) bool { return want == "" || strings.EqualFold(want, got) }

func hosts(o model.Object) []string {
	switch o := o.(type) {
	case *model.RouteSet:
		return o.Hosts
	case *model.TrafficPolicySet:
		return []string{o.Host}
	case *model.Service:
		return []string{o.Host}
	case *model.Gateway:
		var out []string
		for _, s := range o.Servers {
			out = append(out, s.Hosts...)
		}
		return out
	}
	return nil
}
