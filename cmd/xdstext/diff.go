package xdstext

import (
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/control/compare"
	"github.com/weftmesh/weft/control/model"
)

// fewProxies is how many proxies of a group are named; fewAdded and fewRemoved are
// how many lines of a value are shown.
const (
	fewProxies = 4
	fewAdded   = 30
	fewRemoved = 6
)

// Diff writes what is different for proxies: a summary, then each group of proxies
// with its resources. What was shown for an earlier group is not shown again.
func Diff(w io.Writer, r *compare.Result) {
	d := &diffWriter{w: w, colour: cli.Colour(w), shown: map[string]bool{}}
	fmt.Fprintf(w, "%d of %s affected, %s\n", r.Affected, count(r.Proxies, "proxy", "proxies"), count(r.Resources, "resource", "resources"))
	for _, g := range r.Groups {
		fmt.Fprintf(w, "\n%s\n", cli.Strong.Paint(proxies(g.Proxies), d.colour))
		for _, x := range g.Resources {
			d.resource(x)
		}
	}
	for _, part := range []struct {
		list []string
		what string
	}{{r.Added, "would be a new proxy"}, {r.Removed, "would be gone"}} {
		for _, n := range part.list {
			fmt.Fprintf(w, "\n%s %s\n", cli.Strong.Paint(n, d.colour), part.what)
		}
	}
	for _, part := range []struct {
		list []model.Finding
		what string
	}{{r.New, "Findings that are new:"}, {r.Gone, "Findings that are gone:"}} {
		if len(part.list) > 0 {
			fmt.Fprintln(w, "\n"+part.what)
		}
		for _, f := range part.list {
			fmt.Fprintf(w, "  %s: %s\n", f.Severity, f)
		}
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func proxies(list []string) string {
	if n := len(list) - fewProxies; n > 1 {
		return strings.Join(list[:fewProxies], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(list, ", ")
}

type diffWriter struct {
	w      io.Writer
	colour bool
	shown  map[string]bool
}

func (d *diffWriter) line(style cli.Style, sign, text string) {
	fmt.Fprintln(d.w, style.Paint(sign+" "+text, d.colour))
}

func (d *diffWriter) resource(r compare.Resource) {
	title := r.Type + " " + r.Name
	key := fmt.Sprint(title, r.Kind, r.Changes)
	again := ""
	if d.shown[key] && r.Kind == compare.Changed {
		again = " (as above)"
	}
	switch r.Kind {
	case compare.Added:
		d.line(cli.Good, "  +", title)
	case compare.Removed:
		d.line(cli.Bad, "  -", title)
	default:
		d.line(cli.Warn, "  ~", title+again)
	}
	if again == "" {
		for _, c := range r.Changes {
			d.change(c)
		}
	}
	d.shown[key] = true
}

func (d *diffWriter) change(c compare.Change) {
	by := ""
	if c.By != "" {
		by = cli.Faint.Paint("  ("+c.By+")", d.colour)
	}
	switch c.Kind {
	case compare.Hidden:
		fmt.Fprintln(d.w, "      a private key is another one (not shown)")
		return
	case compare.Moved:
		fmt.Fprintf(d.w, "      %s: another order: %v, before %v%s\n", c.Path, c.New, c.Old, by)
		return
	}
	if c.Kind == compare.Changed && scalar(c.Old) && scalar(c.New) {
		fmt.Fprintf(d.w, "      %s: %s -> %s%s\n", c.Path, cli.Bad.Paint(value(c.Old), d.colour), cli.Good.Paint(value(c.New), d.colour), by)
		return
	}
	if c.Kind != compare.Added {
		d.value(cli.Bad, "-", c.Path, c.Old, by)
	}
	if c.Kind != compare.Removed {
		d.value(cli.Good, "+", c.Path, c.New, by)
	}
}

// value writes a field and what it holds.
func (d *diffWriter) value(style cli.Style, sign, path string, v any, by string) {
	if scalar(v) {
		fmt.Fprintln(d.w, style.Paint("    "+sign+" "+path+": "+value(v), d.colour)+by)
		return
	}
	fmt.Fprintln(d.w, style.Paint("    "+sign+" "+path+":", d.colour)+by)
	raw, err := yaml.Marshal(v)
	if err != nil {
		panic("BUG: what was read as JSON cannot be written: " + err.Error())
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	more, few := "", fewAdded
	if sign == "-" {
		few = fewRemoved
	}
	if n := len(lines) - few; n > 1 {
		lines, more = lines[:few], fmt.Sprintf("… (%d more lines; -o json has all)", n)
	}
	for _, l := range lines {
		fmt.Fprintln(d.w, style.Paint("    "+sign+"   "+l, d.colour))
	}
	if more != "" {
		fmt.Fprintln(d.w, "        "+more)
	}
}

func scalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

func value(v any) string {
	if s, ok := v.(string); ok {
		if s == "" || strings.ContainsAny(s, " \n") {
			return fmt.Sprintf("%q", s)
		}
		return s
	}
	return fmt.Sprint(v)
}
