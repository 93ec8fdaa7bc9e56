package finding

import (
	"fmt"
	"path"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// Annotation names the codes of Findings about an object that nobody wants to see:
// Istio's. Its value is a list with commas of codes, Weft's or Istio's, or "*".
const Annotation = "galley.istio.io/analyze-suppress"

// Annotated tells whether an object's annotations say that a Finding is to be left out.
func Annotated(annotations map[string]string, f model.Finding) bool {
	for word := range strings.SplitSeq(annotations[Annotation], ",") {
		if is(strings.TrimSpace(word), f) {
			return true
		}
	}
	return false
}

// Suppression leaves out the Findings with a code about some objects.
type Suppression struct {
	code, object string
}

// ParseSuppression reads "CODE=Kind namespace/name", or as istioctl has it "CODE=Kind
// name.namespace"; "*" stands for any characters but "/". Without "=…" all objects
// are meant.
func ParseSuppression(s string) (Suppression, error) {
	code, object, some := strings.Cut(s, "=")
	code, object = strings.TrimSpace(code), strings.TrimSpace(object)
	if code != "*" && len(Find(code)) == 0 {
		return Suppression{}, fmt.Errorf("%q: there is no code %q, neither of Weft nor of Istio", s, code)
	}
	if some && object == "" {
		return Suppression{}, fmt.Errorf("%q: want CODE=Kind namespace/name", s)
	}
	if _, err := path.Match(object, ""); err != nil {
		return Suppression{}, fmt.Errorf("%q: %w", s, err)
	}
	return Suppression{code, object}, nil
}

// Covers tells whether a Finding is to be left out.
func (s Suppression) Covers(f model.Finding) bool {
	if !is(s.code, f) {
		return false
	}
	if s.object == "" {
		return true
	}
	k := f.Object
	dotted := string(k.Kind) + " " + k.Name
	if k.Namespace != "" {
		dotted += "." + k.Namespace
	}
	for _, name := range []string{k.Title(), dotted} {
		if ok, _ := path.Match(s.object, name); ok { // the pattern was tried when it was read
			return true
		}
	}
	return false
}
