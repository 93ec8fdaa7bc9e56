package explain

import (
	"fmt"
	"io"
	"strings"

	"github.com/weftmesh/weft/cli"
)

// Write shows an answer to people.
func (a *Answer) Write(w io.Writer) {
	colour := cli.Colour(w)
	fmt.Fprintf(w, "%s from %s\n\n", cli.Strong.Paint(a.Request, colour), a.From)
	writeSteps(w, a.Steps, colour)
	style := cli.Good
	if a.Result == Denied || a.Result == Refused {
		style = cli.Bad
	}
	fmt.Fprintf(w, "\n%s", style.Paint(a.Result, colour))
	if a.Status != 0 {
		fmt.Fprintf(w, ", %d", a.Status)
	}
	if a.Why != "" {
		fmt.Fprintf(w, ": %s", a.Why)
	}
	fmt.Fprintln(w)
	if len(a.Clusters) > 1 {
		for _, s := range a.Clusters {
			fmt.Fprintf(w, "  %.4g%% to %s\n", s.Percent, s.Cluster)
		}
	}
	if a.Timeout != "" {
		fmt.Fprintf(w, "  timeout %s, retries %s\n", a.Timeout, a.Retries)
	}
	if len(a.Endpoints) > 0 {
		fmt.Fprintln(w)
		t := &cli.Table{Head: []string{"ENDPOINT", "WORKLOAD", "CLUSTER", "LOCALITY", "HEALTH", "MTLS", "THERE"}}
		for _, e := range a.Endpoints {
			mtls, there := "no", cli.Cell{Text: "allowed", Style: cli.Good}
			if e.MTLS {
				mtls = "yes"
			}
			if e.Denied != "" {
				there = cli.Cell{Text: e.Denied, Style: cli.Bad}
			}
			at := e.Locality
			if e.Priority > 0 {
				at = strings.TrimSpace(fmt.Sprintf("%s (priority %d)", at, e.Priority))
			}
			t.Row(e.Address, e.Workload, e.Cluster, at, e.Health, mtls, there)
		}
		t.Write(w, colour)
	}
}

// writeSteps shows steps as a table.
func writeSteps(w io.Writer, steps []Step, colour bool) {
	t := &cli.Table{Head: []string{"WHAT", "OBJECT", "SAYS"}}
	for _, s := range steps {
		object := s.Object
		if s.Origin != "" && object != "" {
			object += " (" + s.Origin + ")"
		}
		t.Row(s.Part, object, s.Says)
	}
	t.Write(w, colour)
}
