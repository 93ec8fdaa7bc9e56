// Package finding knows all codes of Findings: what each means, what to do about it,
// and which message of istioctl analyze says the same. It also reads what users write
// to leave Findings out.
//
// It finds nothing itself. A code that some other package makes and this one does not
// know fails a test of this package.
package finding

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// Code is what there is to know about a code.
type Code struct {
	// ID is "WEFT0201".
	ID string `json:"code"`
	// Severity is the worst that Findings with the code have.
	Severity model.Severity `json:"severity"`
	// Meaning and Remedy are sentences for people. A Finding itself is more precise.
	Meaning string `json:"meaning"`
	Remedy  string `json:"remedy"`
	// Istio are the messages of istioctl analyze that say the same. Where they are of
	// certain kinds of objects, For has them.
	Istio []Equal `json:"istio,omitempty"`
}

// Equal is a message of Istio's and the kinds of objects for which it says the same;
// none: all.
type Equal struct {
	Code string       `json:"code"`
	For  []model.Kind `json:"for,omitempty"`
}

// Lookup returns a code by its ID; not ok when there is none.
func Lookup(id string) (Code, bool) {
	i, ok := slices.BinarySearchFunc(codes, id, func(c Code, id string) int { return strings.Compare(c.ID, id) })
	if !ok {
		return Code{}, false
	}
	return codes[i], true
}

// All returns all codes, sorted by ID; read-only.
func All() []Code { return codes }

// Find returns the codes that a user means by "WEFT0201", "0201", or the code of a
// message of Istio's.
func Find(name string) []Code {
	name = strings.ToUpper(strings.TrimSpace(name))
	var out []Code
	for _, c := range codes {
		if c.ID == name || c.ID == "WEFT"+name || slices.ContainsFunc(c.Istio, func(e Equal) bool { return e.Code == name }) {
			out = append(out, c)
		}
	}
	return out
}

// Istio returns the code of the message of istioctl analyze that says the same as a
// Finding, or "".
func Istio(f model.Finding) string {
	c, _ := Lookup(f.Code)
	for _, e := range c.Istio {
		if len(e.For) == 0 || slices.Contains(e.For, f.Object.Kind) {
			return e.Code
		}
	}
	return ""
}

// is tells whether a word names the code of a Finding, Weft's or Istio's; "*" names all.
func is(word string, f model.Finding) bool {
	return word == "*" || strings.EqualFold(word, f.Code) || strings.EqualFold(word, Istio(f)) && word != ""
}

// Equals writes the messages of Istio's that say the same: "IST0109 (VirtualService), …".
func Equals(c Code) string {
	var parts []string
	for _, e := range c.Istio {
		s := e.Code
		if len(e.For) > 0 {
			var kinds []string
			for _, k := range e.For {
				kinds = append(kinds, string(k))
			}
			s += " (" + strings.Join(kinds, ", ") + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}
