package descriptor

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/cel"
	"github.com/weftmesh/weft/proxy/route"
)

// The actions. Keys are Envoy's unless the configuration names others.

func constant(key string, value func(*filter.Info) string) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		return add(to, key, value(f.Stream.Info()))
	}
}

// add appends an entry with a value; without one there is no descriptor.
func add(to []Entry, key, value string) ([]Entry, bool) {
	if value == "" {
		return to, false
	}
	return append(to, Entry{key, value}), true
}

func sourceCluster(f *Facts, to []Entry) ([]Entry, bool) {
	return append(to, Entry{"source_cluster", f.Source}), true
}

func destinationCluster(f *Facts, to []Entry) ([]Entry, bool) {
	return append(to, Entry{"destination_cluster", f.Stream.Cluster()}), true
}

// header takes the first value. skip: its absence does not end the descriptor.
func header(name, key string, skip bool) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		v, ok := f.Stream.Request().Lookup(name)
		if !ok {
			return to, skip
		}
		return add(to, key, strings.Clone(v))
	}
}

func query(name, key string, skip bool) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		v := queryOf(f)[name]
		if len(v) == 0 || v[0] == "" {
			return to, skip
		}
		return add(to, key, v[0])
	}
}

func queryOf(f *Facts) url.Values {
	_, q, _ := strings.Cut(f.Stream.Request().Path, "?")
	v, err := url.ParseQuery(q)
	if err != nil {
		return url.Values{} // what cannot be read is not there
	}
	return v
}

func remoteAddress(f *Facts, to []Entry) ([]Entry, bool) {
	a := remote(f)
	if !a.IsValid() {
		return to, false
	}
	return append(to, Entry{"remote_address", a.String()}), true
}

func maskedAddress(v4, v6 int) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		a, bits := remote(f), v6
		if a.Is4() {
			bits = v4
		}
		p, err := a.Prefix(bits)
		if err != nil {
			return to, false
		}
		return append(to, Entry{"masked_remote_address", p.String()}), true
	}
}

func addressMatch(ranges []netip.Prefix, invert bool, key string, value func(*filter.Info) string) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		a, in := remote(f), false
		for _, p := range ranges {
			in = in || p.Contains(a)
		}
		if in == invert {
			return to, false
		}
		return add(to, key, value(f.Stream.Info()))
	}
}

func headerMatch(t route.HeaderTests, want bool, key string, value func(*filter.Info) string) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		if t.All(f.Stream.Request()) != want {
			return to, false
		}
		return add(to, key, value(f.Stream.Info()))
	}
}

// queryTest tests a parameter; tests nil: it must be there (or not).
type queryTest struct {
	name    string
	tests   *route.Strings
	present bool
}

func queryMatch(tests []queryTest, want bool, key string, value func(*filter.Info) string) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		q, all := queryOf(f), true
		for _, t := range tests {
			v, ok := q[t.name]
			if t.tests == nil {
				all = all && ok == t.present
			} else {
				all = all && ok && t.tests.Any(v[0])
			}
		}
		if all != want {
			return to, false
		}
		return add(to, key, value(f.Stream.Info()))
	}
}

// expression takes the value of an expression. skip: an error does not end the descriptor.
func expression(v *cel.Value, key string, skip bool) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		s, ok := v.Lookup(f.Stream.Info())
		if !ok {
			return to, skip
		}
		return append(to, Entry{key, strings.Clone(s)}), true
	}
}

// metadata takes a string of the request's dynamic metadata or of the route's.
func metadata(path []string, ofRoute bool, key, def string, skip bool) action {
	return func(f *Facts, to []Entry) ([]Entry, bool) {
		from := f.Stream.Info().Metadata
		if ofRoute {
			from = f.Stream.Info().RouteMetadata
		}
		v, _ := filter.Lookup(from, path).(string)
		if v == "" {
			v = def
		}
		if v == "" {
			return to, skip
		}
		return append(to, Entry{key, v}), true
	}
}
