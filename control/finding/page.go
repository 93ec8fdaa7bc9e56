package finding

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// parts are the sections of the page, by how codes begin.
var parts = []struct{ prefix, title, about string }{
	{"WEFT01", "What one document shows", "A document with an error is refused: its last good version stays in force, and other objects are not affected."},
	{"WEFT02", "What several objects show together", "Nothing is refused for these: every object stays in force as far as it goes. Codes from WEFT0240 on are about what runs in a Kubernetes\ncluster, and come only of `weft analyze`, where such objects are among the files."},
	{"WEFT03", "What shows when proxies are configured", "The rest of a proxy's configuration goes out."},
	{"WEFT04", "Gateway API and Ingress", "By the condition of the Gateway API that would say so."},
	{"WEFT049", "Injection into pods", "Warnings of the webhook, which `kubectl` shows, and of `weft inject`, see INJECTION.md."},
}

// Page writes docs/FINDINGS.md.
func Page(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# Findings

Made by ` + "`weft analyze --codes -o markdown`" + ` from the table in control/finding; ` + "`make docs`" + ` writes it. What is wrong with an object is a Finding: a stable code, the object, the
file and line, the field, and what to do. ` + "`weft analyze`" + ` prints them, ` + "`weft status`" + ` those of a running mesh. The severity is the worst that Findings with the code have: error (the
object, or a part of it, does not do what it says), warning (it does something else than one may think), info.

The codes of ` + "`istioctl analyze`" + ` that say the same stand beside; where they are for certain kinds of objects only, the kinds in brackets.
`)
	for _, p := range parts {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| code | severity | means | what to do | istioctl analyze |\n|---|---|---|---|---|\n", p.title, p.about)
		for _, c := range codes {
			if sectionOf(c.ID) == p.prefix {
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", c.ID, c.Severity, c.Meaning, c.Remedy, Equals(c))
			}
		}
	}
	b.WriteString("\n## What istioctl analyze says and Weft does not\n\n| code | why |\n|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(Absent)) {
		fmt.Fprintf(&b, "| %s | %s |\n", code, Absent[code])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// sectionOf is the longest of the prefixes that a code begins with.
func sectionOf(code string) (best string) {
	for _, p := range parts {
		if strings.HasPrefix(code, p.prefix) && len(p.prefix) > len(best) {
			best = p.prefix
		}
	}
	return best
}
