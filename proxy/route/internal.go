package route

import (
	"slices"

	"github.com/weftmesh/weft/proxy/filter"
)

// InternalRedirect lets the proxy follow redirects of the upstream itself.
type InternalRedirect struct {
	// Max is how many redirects of one request are followed.
	Max uint32
	// Statuses that are followed: of 301, 302, 303, 307 and 308.
	Statuses []int
	// CrossScheme follows from http to https and back; SafeCrossScheme does not
	// from http to https.
	CrossScheme, SafeCrossScheme bool
	// AllowListed, when not nil, are the names of the routes that redirects may lead to.
	AllowListed []string
	// NewRoutes follows none to a route that one from this route has led to before.
	NewRoutes bool
	// Copy names response headers that the new request gets; those that the
	// response lacks it loses.
	Copy []string
}

// Follows tells whether responses of that status are followed.
func (p *InternalRedirect) Follows(status int) bool { return slices.Contains(p.Statuses, status) }

// Followed are the redirects that have been followed for one request.
type Followed struct {
	N      uint32
	leaped []leap
}

// leap is a redirect from one route to another, by their names.
type leap struct{ from, to string }

// Permits tells whether the policy of the route from lets a redirect lead to the
// route to; secure tells of the request and of where it is to go, that the scheme is https.
func (r *Followed) Permits(from, to *Entry, secure [2]bool) bool {
	p := from.Forward().Internal
	switch {
	case p.AllowListed != nil && !slices.Contains(p.AllowListed, to.Name()):
		return false
	case p.SafeCrossScheme && !secure[0] && secure[1]:
		return false
	case p.NewRoutes:
		l := leap{from.Name(), to.Name()}
		if slices.Contains(r.leaped, l) {
			return false
		}
		r.leaped = append(r.leaped, l)
	}
	return true
}

// CopyTo gives the request h the response's headers that the policy names.
func (p *InternalRedirect) CopyTo(h, response *filter.Headers) {
	for _, name := range p.Copy {
		h.Del(name)
		for v := range response.Values(name) {
			h.Add(name, h.KeepString(v))
		}
	}
}
