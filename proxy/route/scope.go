package route

import (
	"errors"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Scopes are the routes of scopes by their keys; see ScopeKey.
type Scopes map[string]*Scope

// Scope is what a key leads to.
type Scope struct {
	// Table is the present one, nil while there is none.
	Table func() *Table
	// OnDemand, when set, is the name of the route configuration to ask for while
	// there is no table.
	OnDemand string
}

// ScopeKey is the key of a scope: its fragments in order.
func ScopeKey(fragments ...string) string {
	var b []byte
	for _, f := range fragments {
		b = appendFragment(b, f)
	}
	return string(b)
}

// appendFragment ends a fragment with a byte that no header has.
func appendFragment(b []byte, f string) []byte { return append(append(b, f...), 0) }

// ScopeFragment takes a part of a scope's key from a header's first value: the
// whole, or of its elements the one at Index, or the one that begins with Key.
type ScopeFragment struct {
	Header string
	// Separator of elements; "": there is one element.
	Separator string
	// Key and KeySeparator, when set, choose the first element that is
	// Key, KeySeparator, fragment.
	Key, KeySeparator string
	Index             int
}

// ScopeKeys make keys of requests.
type ScopeKeys struct{ fragments []ScopeFragment }

// NewScopeKeys checks what it keeps.
func NewScopeKeys(fragments []ScopeFragment) (*ScopeKeys, error) {
	for i := range fragments {
		f := &fragments[i]
		f.Header = strings.ToLower(f.Header)
		if f.Separator == "" && f.Index > 0 {
			return nil, errors.New("an index above 0 needs an element separator")
		}
	}
	return &ScopeKeys{fragments}, nil
}

// keyRoom is what a key may take without an allocation.
const keyRoom = 256

// Find is the scope of a request, nil: none.
func (k *ScopeKeys) Find(s Scopes, h *filter.Headers) *Scope {
	var room [keyRoom]byte
	b := room[:0]
	for i := range k.fragments {
		v, ok := k.fragments[i].of(h)
		if !ok {
			return nil
		}
		b = appendFragment(b, v)
	}
	return s[string(b)]
}

func (f *ScopeFragment) of(h *filter.Headers) (string, bool) {
	v, ok := h.Lookup(f.Header)
	if !ok {
		return "", false
	}
	for n := 0; ; n++ {
		element, rest, more := v, "", false
		if f.Separator != "" {
			element, rest, more = strings.Cut(v, f.Separator)
		}
		if f.KeySeparator != "" {
			key, value, _ := strings.Cut(element, f.KeySeparator)
			if key == f.Key {
				return value, true
			}
		} else if n == f.Index {
			return element, true
		}
		if !more {
			return "", false
		}
		v = rest
	}
}
