package route

import (
	"github.com/weftmesh/weft/proxy/filter"
)

// Kind of an Entry.
type Kind uint8

// Kinds.
const (
	Forwards Kind = iota
	Redirects
	Answers
)

// Entry is a compiled route. It is immutable.
type Entry struct{}

// Kind tells what to do with the request.
func (e *Entry) Kind() Kind { panic("BUG: being built") }

// Name of the route (%ROUTE_NAME%).
func (e *Entry) Name() string { panic("BUG: being built") }

// VirtualHost is the virtual host's name.
func (e *Entry) VirtualHost() *VirtualHost { panic("BUG: being built") }

// Route is the rule as written; read only.
func (e *Entry) Route() *Route { panic("BUG: being built") }

// Forward is the rule's action as written, nil unless Kind is Forwards.
func (e *Entry) Forward() *Forward { panic("BUG: being built") }

// Direct is nil unless Kind is Answers.
func (e *Entry) Direct() *Direct { panic("BUG: being built") }

// Retry is the route's policy or the virtual host's, nil: none.
func (e *Entry) Retry() *Retry { panic("BUG: being built") }

// Mirrors are the route's, the virtual host's or the configuration's.
func (e *Entry) Mirrors() []Mirror { panic("BUG: being built") }

// Target is the cluster that was chosen for a request.
type Target struct {
	Cluster string
	// Subset is a filter.SubsetKey, "" for none.
	Subset string
	choice *choice
}

type choice struct{}

// Target chooses the cluster. Cluster is empty when a cluster header is missing.
func (e *Entry) Target(h *filter.Headers, random uint64) Target { panic("BUG: being built") }

// FilterConfig returns the most specific configuration of a filter, nil: none.
// t may be the zero Target when none has been chosen yet.
func (e *Entry) FilterConfig(t Target, name string) any { panic("BUG: being built") }

// RewriteRequest rewrites path and authority, then applies the header
// operations. info.OriginalPath is set when the path changes.
func (e *Entry) RewriteRequest(t Target, h *filter.Headers, info *filter.Info) {
	panic("BUG: being built")
}

// RewriteResponse applies the header operations of the way back.
func (e *Entry) RewriteResponse(t Target, h *filter.Headers, info *filter.Info) {
	panic("BUG: being built")
}

// AutoHost sets the authority to the endpoint's host name when the route asks for it.
func (e *Entry) AutoHost(h *filter.Headers, hostname string) { panic("BUG: being built") }

// Redirect returns status and location; Kind is Redirects. The location lies in h's memory.
func (e *Entry) Redirect(h *filter.Headers) (status int, location string) {
	panic("BUG: being built")
}

// Hash computes the hash for consistent load balancing; ok is false when no
// policy applies. setCookie, when not empty, must be added to the response.
func (e *Entry) Hash(h *filter.Headers, conn *filter.ConnInfo) (hash uint64, ok bool, setCookie string) {
	panic("BUG: being built")
}

// Upgrade tells what the route says about an upgrade token: nil when nothing.
func (e *Entry) Upgrade(token string) *Upgrade { panic("BUG: being built") }

// Chosen tells whether a request with that random number is mirrored.
func (m *Mirror) Chosen(random uint64) bool { panic("BUG: being built") }

// Target is the mirror's cluster, "" when its header is missing.
func (m *Mirror) Target(h *filter.Headers) string { panic("BUG: being built") }
