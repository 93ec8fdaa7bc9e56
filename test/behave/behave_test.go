package behave

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// bound is how long a case is given until its outcome is right. Proxies put into force
// what they have acknowledged within milliseconds; a busy machine takes longer.
var bound = flag.Duration("bound", patience, "how long a case may take until its outcome is right")

// built saves the time of building, for who works on cases.
var built = flag.String("built", "", "folder with the programs weft and authz; empty: they are built")

// The test binary is also the program in the workloads.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "program" {
		fmt.Fprintln(os.Stderr, program(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestBehaviour runs all cases in one mesh, one after the other, each with all kinds of
// clients at once.
func TestBehaviour(t *testing.T) {
	cases, err := read("testdata/cases")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	m := newMesh(t)
	t.Logf("the mesh is up after %v", time.Since(begin).Round(time.Millisecond))
	var late []string
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			begin := time.Now()
			if n := m.run(t, c); n > 1 {
				late = append(late, fmt.Sprintf("%s (%d rounds, %v)", c.name, n, time.Since(begin).Round(time.Millisecond)))
			}
		})
	}
	t.Logf("%d cases; right not at once: %s", len(cases), strings.Join(late, ", "))
}
