package istiod

import (
	"os"
	"strings"
)

// bootstrap is one as pilot-agent writes it, with an API of the state of the world
// or the incremental one.
func (m *mesh) bootstrap(name, api string) string {
	m.t.Helper()
	raw, err := os.ReadFile("testdata/bootstrap.json")
	if err != nil {
		m.t.Fatal(err)
	}
	return strings.NewReplacer("${NAME}", name, "${IP}", address[name], "${API}", api).Replace(string(raw))
}
