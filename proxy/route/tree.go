package route

import (
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/choice"
)

// Choice chooses among lists of routes by a matcher tree (xds.type.matcher.v3.Matcher).
type Choice struct {
	// Tree leads to the index of a list. Of that the first route that matches is
	// taken: when none does, there is none, whatever else the tree has.
	Tree  choice.Tree[Facts, int]
	Lists [][]Route
}

// Facts are what a Choice is made by.
type Facts struct {
	Head *filter.Headers
	Req  Req // a copy: what goes through an interface by its address would be allocated
}

// HeaderInput is a request header or pseudo header; several lines are joined by ",".
func HeaderInput(name string) choice.Input[Facts] {
	name = strings.ToLower(name)
	if name == "host" {
		name = ":authority"
	}
	return func(f Facts) (string, bool) { return f.Head.Joined(name) }
}

// StateInput is a string of filter state.
func StateInput(key string) choice.Input[Facts] {
	return func(f Facts) (string, bool) { return f.Req.state(key) }
}

// Each calls visit for all routes, those of a matcher included.
func (v *VirtualHost) Each(visit func(*Route)) {
	for i := range v.Routes {
		visit(&v.Routes[i])
	}
	if v.Matcher == nil {
		return
	}
	for _, list := range v.Matcher.Lists {
		for i := range list {
			visit(&list[i])
		}
	}
}

// chosen is a compiled Choice.
type chosen struct {
	tree  choice.Tree[Facts, int]
	lists [][]Entry
}

func (c *compiler) choice(m *Choice) (*chosen, error) {
	out := &chosen{tree: m.Tree, lists: make([][]Entry, len(m.Lists))}
	for i, list := range m.Lists {
		var err error
		if out.lists[i], err = c.routes(list); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// find is the route that is chosen, nil: none.
func (c *chosen) find(h *filter.Headers, path string, r *Req) *Entry {
	i, ok := c.tree.Choose(Facts{h, *r})
	if !ok {
		return nil
	}
	return first(c.lists[i], h, path, r)
}
