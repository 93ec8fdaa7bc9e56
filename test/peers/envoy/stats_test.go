package envoy

import (
	"bufio"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// stats puts the statistics that cases ask for to them, without those that are
// zero: a proxy may make them when they are needed.
func stats(t *testing.T, p place, cases []*caseFile, out []result) {
	t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s:%d/stats", p.proxy, adminPort))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var lines []string
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		if name, value, ok := strings.Cut(sc.Text(), ": "); ok && value != "0" && !strings.HasPrefix(value, "P") {
			lines = append(lines, name+": "+value+"\n")
		}
	}
	slices.Sort(lines)
	for i, c := range cases {
		for _, l := range lines {
			name, _, _ := strings.Cut(l, ": ")
			if slices.ContainsFunc(c.stats, func(re *regexp.Regexp) bool { return re.MatchString(name) }) {
				out[i].stats += p.hide().Replace(l)
			}
		}
	}
}
