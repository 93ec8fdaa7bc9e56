package format

import (
	"github.com/weftmesh/weft/proxy/filter"
)

// Tag is a named value for spans and log entries: the first that there is of a
// request header, dynamic metadata and a format, else Default.
type Tag struct {
	Name, Default string
	Header        string
	// Metadata is a namespace and what is under it.
	Metadata []string
	Format   *Format
}

// Value of a request; false: there is none, and no default.
func (t *Tag) Value(i *filter.Info) (string, bool) {
	switch {
	case t.Header != "":
		if i.Request != nil {
			if v, ok := i.Request.Lookup(t.Header); ok {
				return string(append([]byte(nil), v...)), true
			}
		}
	case len(t.Metadata) > 0:
		if v := filter.Lookup(i.Metadata, t.Metadata); v != nil {
			if b, ok := appendAny(nil, v); ok {
				return string(b), true
			}
		}
	case t.Format != nil:
		return string(t.Format.Append(nil, i)), true
	}
	return t.Default, t.Default != ""
}
