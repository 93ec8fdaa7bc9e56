// Package descriptor makes the descriptors of a request that limits of rates go
// by: Envoy's rate_limits of routes, virtual hosts and filters. Rules are
// compiled when the configuration arrives.
//
// Routes carry theirs as the configuration of a filter by the name Key, so that the
// route table need not know of them.
package descriptor

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/proxy/filter"
)

// Entry is one key and value of a descriptor.
type Entry struct{ Key, Value string }

// Equal compares the entries of two descriptors.
func Equal(a, b []Entry) bool { return slices.Equal(a, b) }

// Header says whether a rule's limit is told in headers, against the filter's word.
type Header uint8

// Values of Header.
const (
	HeaderDefault Header = iota
	HeaderOff
	HeaderDraft03
)

// On tells whether headers are wanted where the filter says def.
func (h Header) On(def bool) bool { return h == HeaderDraft03 || h == HeaderDefault && def }

// Limit overrides what the service knows; Unit is the API's number.
type Limit struct {
	Requests uint32
	Unit     int32
}

// Descriptor is what a request is counted as. HitsSet: Hits was said; otherwise
// it is 1.
type Descriptor struct {
	Entries  []Entry
	Hits     uint64
	HitsSet  bool
	Negative bool
	Header   Header
	Limit    *Limit
}

// Facts is what rules look at. Source is the name of the cluster that this proxy
// belongs to. Local: for a limit of this process, where Envoy leaves out rules
// with a disable_key.
type Facts struct {
	Stream filter.Stream
	Source string
	Local  bool
	// Done: the request is over; only rules that count it then apply
	// (apply_on_stream_done), which do not before.
	Done bool
}

// action adds an entry; false: the rule makes no descriptor for this request.
type action func(f *Facts, to []Entry) ([]Entry, bool)

type rule struct {
	stage   uint32
	keyed   bool // it has a disable_key
	done    bool // it counts requests that are over
	actions []action
	hits    hits
	header  Header
	limit   func(i *filter.Info) *Limit
}

// hits says how much a request counts for.
type hits struct {
	set, negative bool
	fixed         uint64
	from          func(i *filter.Info) (uint64, bool)
}

// Rules are the compiled rate_limits of one place.
type Rules []rule

// AnyStage takes rules of all stages.
const AnyStage = ^uint32(0)

// Append appends the descriptors that the rules make of a request.
func (r Rules) Append(to []Descriptor, f Facts, stage uint32) []Descriptor {
	for i := range r {
		if r[i].stage != stage && stage != AnyStage || r[i].keyed && f.Local || r[i].done != f.Done {
			continue
		}
		if d, ok := r[i].make(&f); ok {
			to = append(to, d)
		}
	}
	return to
}

func (r *rule) make(f *Facts) (Descriptor, bool) {
	d := Descriptor{Entries: make([]Entry, 0, len(r.actions)), Header: r.header, Hits: 1, HitsSet: r.hits.set, Negative: r.hits.negative}
	for _, a := range r.actions {
		var ok bool
		if d.Entries, ok = a(f, d.Entries); !ok {
			return d, false
		}
	}
	if r.hits.set {
		d.Hits = r.hits.fixed
		if r.hits.from != nil {
			var ok bool
			if d.Hits, ok = r.hits.from(f.Stream.Info()); !ok {
				return d, false
			}
		}
	}
	if r.limit != nil {
		d.Limit = r.limit(f.Stream.Info())
	}
	return d, true
}

// Key is the name by which routes carry a *Policy.
const Key = "weft.rate_limits"

// Policy is what a virtual host or a route says.
type Policy struct {
	Rules Rules
	// Host: it is the virtual host's.
	Host bool
	// Include, of a route, adds the virtual host's rules.
	Include bool
}

// VirtualHost says when a virtual host's rules apply beside the route's; the numbers are the API's.
type VirtualHost uint8

// Values of VirtualHost.
const (
	// Override: when the route has none.
	Override VirtualHost = iota
	// Include: always.
	Include
	// Ignore: never.
	Ignore
)

// OfRoute appends the descriptors that route and virtual host ask for.
func OfRoute(to []Descriptor, f Facts, stage uint32, vhost VirtualHost) []Descriptor {
	var host, route *Policy
	for _, c := range f.Stream.RouteConfigs(Key) {
		if p, ok := c.(*Policy); ok && p.Host {
			host = p
		} else if ok {
			route = p
		}
	}
	own := route != nil && len(route.Rules) > 0
	if own {
		to = route.Rules.Append(to, f, stage)
	}
	if route != nil && route.Include {
		vhost = Include
	}
	if host != nil && (vhost == Include || vhost == Override && !own) {
		to = host.Rules.Append(to, f, stage)
	}
	return to
}

// remote is the client's address, as a trusted x-forwarded-for says.
func remote(f *Facts) netip.Addr {
	i := f.Stream.Info()
	if i.Remote.IsValid() {
		return i.Remote.Addr().Unmap()
	}
	return i.Conn.Remote.Addr().Unmap()
}
