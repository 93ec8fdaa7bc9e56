package message

import (
	"strings"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
)

// Public tells whether a field may go into a message: what the proxy notes for HTTP's or for
// its own sake stays here.
func Public(name string) bool {
	switch name {
	case "content-length", "content-type", "date", "server", "via", "connection", "te":
		return false
	case "x-envoy-peer-metadata", "x-envoy-peer-metadata-id":
		return true
	}
	return !strings.HasPrefix(name, "x-envoy-") && !strings.HasPrefix(name, "x-forwarded-") && !strings.HasPrefix(name, ":")
}

// differences appends what leads from the fields of a message to those that it is to have.
func differences(out []codec.Change, was, is *filter.Headers) []codec.Change {
	if is.Authority != was.Authority {
		out = append(out, codec.Change{Name: ":authority", Value: is.Authority})
	}
	if is.Method != was.Method {
		out = append(out, codec.Change{Name: ":method", Value: is.Method})
	}
	for i := range is.Len() {
		name := is.At(i).Name
		if first(is, name) != i {
			continue // all of a name are one change
		}
		if last, same := compare(was, is, name); !same {
			out = append(out, codec.Change{Name: name, Value: last})
		}
	}
	for i := range was.Len() {
		if name := was.At(i).Name; Public(name) && first(was, name) == i && !is.Has(name) {
			out = append(out, codec.Change{Name: name, Remove: true})
		}
	}
	return out
}

// first is where the first field of that name is.
func first(h *filter.Headers, name string) int {
	for i := range h.Len() {
		if h.At(i).Name == name {
			return i
		}
	}
	return -1
}

// compare tells whether both have the same fields of that name, and the last value that is has. Names that
// differ by case alone are one name here and many in a message.
func compare(was, is *filter.Headers, name string) (last string, same bool) {
	k, same := 0, true
	for i := range is.Len() {
		f := is.At(i)
		if f.Name != name {
			continue
		}
		last = f.Value
		for k < was.Len() && was.At(k).Name != name {
			k++
		}
		same = same && k < was.Len() && was.At(k).Value == f.Value
		k++
	}
	for ; k < was.Len(); k++ {
		same = same && was.At(k).Name != name
	}
	return last, same
}
