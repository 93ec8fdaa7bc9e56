package route

import (
	"github.com/weftmesh/weft/proxy/filter"
)

// Table is a compiled route configuration.
type Table struct{ name string }

// Compile checks s and compiles it. It keeps s, which must not change later.
// Errors name the virtual host, the route and the field.
func Compile(s *Spec, o Options) (*Table, error) { panic("BUG: being built") }

// Options hold what formats may refer to.
type Options struct {
	// Hostname is %HOSTNAME%.
	Hostname string
	// Env looks %ENVIRONMENT(X)% up; nil: empty.
	Env func(string) string
}

// Name of the route configuration.
func (t *Table) Name() string { return t.name }

// Req is what Find looks at beside the head.
type Req struct {
	// Random decides about fractions.
	Random uint64
	// Conn may be nil.
	Conn *filter.ConnInfo
}

// Find returns what the table says about the request, nil when nothing matches.
func (t *Table) Find(h *filter.Headers, r *Req) *Entry { panic("BUG: being built") }
