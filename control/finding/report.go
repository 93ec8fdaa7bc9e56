package finding

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// Row is a Finding as reports show it: the schema of `weft analyze -o json`, which
// only grows.
type Row struct {
	Code string `json:"code"`
	// Istio is the code of the message of istioctl analyze that says the same.
	Istio    string         `json:"istio,omitempty"`
	Severity model.Severity `json:"severity"`
	Object   model.Key      `json:"object"`
	File     string         `json:"file,omitempty"`
	Line     int            `json:"line,omitempty"`
	Field    string         `json:"field,omitempty"`
	Message  string         `json:"message"`
	Remedy   string         `json:"remedy,omitempty"`
}

// Counts are numbers of Findings by their severity.
type Counts struct {
	Error   int `json:"error"`
	Warning int `json:"warning"`
	Info    int `json:"info"`
}

// Report is what an analysis found, without what was to be left out.
type Report struct {
	Findings []Row  `json:"findings"`
	Counts   Counts `json:"counts"`
	// Suppressed is how many Findings were left out by Suppressions and annotations of
	// objects that are in force.
	Suppressed int `json:"suppressed"`
	// Failed: a Finding is as bad as Filter.Fail, or worse.
	Failed bool `json:"failed"`

	list []model.Finding
}

// Filter says which Findings a report is about.
type Filter struct {
	// Namespace, when set: only of objects of it, and of those that have none.
	Namespace string
	// Least is the lowest severity that is shown, Fail the lowest that Failed goes by.
	Least, Fail model.Severity
	Suppress    []Suppression
	// Annotations of an object; nil: none are known.
	Annotations func(model.Key) map[string]string
}

// NewReport makes a report of Findings, each once, sorted by file and line.
func NewReport(findings []model.Finding, f Filter) *Report {
	out := &Report{Findings: []Row{}}
	for _, x := range once(findings) {
		if f.Namespace != "" && x.Object.Namespace != "" && x.Object.Namespace != f.Namespace {
			continue
		}
		if slices.ContainsFunc(f.Suppress, func(s Suppression) bool { return s.Covers(x) }) || f.Annotations != nil && Annotated(f.Annotations(x.Object), x) {
			out.Suppressed++
			continue
		}
		out.Failed = out.Failed || x.Severity >= f.Fail
		if x.Severity < f.Least {
			continue
		}
		*[...]*int{&out.Counts.Info, &out.Counts.Warning, &out.Counts.Error}[x.Severity]++
		out.list = append(out.list, x)
		out.Findings = append(out.Findings, Row{x.Code, Istio(x), x.Severity, x.Object, x.Origin.File, x.Origin.Line, x.Field, x.Message, x.Remedy})
	}
	return out
}

// once sorts Findings and leaves out those that say what another says: the same, and
// what shows in a proxy's configuration of a field that is known to be at fault.
func once(list []model.Finding) []model.Finding {
	type spot struct {
		object model.Key
		field  string
	}
	known := map[spot]bool{}
	for _, f := range list {
		if !shown(f) && f.Severity > model.Info {
			for field := f.Field; field != ""; field = model.Parent(field) {
				known[spot{f.Object, field}] = true
			}
		}
	}
	seen := map[model.Finding]bool{}
	var out []model.Finding
	for _, f := range list {
		if seen[f] || shown(f) && known[spot{f.Object, f.Field}] {
			continue
		}
		seen[f] = true
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b model.Finding) int {
		return cmp.Or(strings.Compare(a.Origin.File, b.Origin.File), a.Origin.Line-b.Origin.Line, strings.Compare(a.Field, b.Field), strings.Compare(a.Code, b.Code))
	})
	return out
}

// shown tells whether a Finding comes of the configuration of some proxy.
func shown(f model.Finding) bool { return f.Code >= "WEFT03" && f.Code < "WEFT04" }

// Text writes one line for each Finding, with its codes behind it. paint, when not
// nil, decorates the severity.
func (r *Report) Text(w io.Writer, paint func(model.Severity) string) {
	for i, f := range r.list {
		word := f.Severity.String()
		if paint != nil {
			word = paint(f.Severity)
		}
		codes := f.Code
		if x := r.Findings[i].Istio; x != "" {
			codes += " " + x
		}
		fmt.Fprintf(w, "%s: %s [%s]\n", word, f, codes)
	}
}

// String counts: "2 errors, 1 warning".
func (c Counts) String() string {
	var parts []string
	for _, x := range []struct {
		n    int
		word string
	}{{c.Error, "error"}, {c.Warning, "warning"}, {c.Info, "note"}} {
		switch {
		case x.n == 1:
			parts = append(parts, "1 "+x.word)
		case x.n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", x.n, x.word))
		}
	}
	if len(parts) == 0 {
		return "no findings"
	}
	return strings.Join(parts, ", ")
}
