package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// TestExampleProtocols runs the examples of Dubbo and Thrift as their READMEs say.
func TestExampleProtocols(t *testing.T) {
	t.Parallel()
	const greeter = "?host=greeter&service=org.example.Greeter&method="
	for _, c := range []struct {
		name, program, port string
		// answers are parts of what comes for a query; split is one that both versions answer.
		answers map[string]string
		split   string
	}{
		{"dubbo", "greeter", "8089", map[string]string{
			greeter + "greet&user=jason": "20 1 v2", greeter + "broken": "fault filter abort", greeter + "secret": "40 RBAC: access denied",
		}, greeter + "greet"},
		{"thrift", "calculator", "8090", map[string]string{
			"?op=add&user=jason": "v2 add user=jason", "?op=broken": "fault filter abort", "?op=secret": "RBAC: access denied",
		}, "?op=add"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(work(t), "m")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			port := int(freeport.Port(t))
			for _, name := range []string{"mesh", "routes"} {
				raw, err := os.ReadFile(filepath.Join(root, "examples", c.name, name+".yaml"))
				if err != nil {
					t.Fatal(err)
				}
				text := strings.NewReplacer("[go, run, ./"+c.program+",", "["+bin+"/"+c.program+",", c.port, fmt.Sprint(port)).Replace(string(raw))
				if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			m := start(t, dir, options{engine: "go"})
			m.base = fmt.Sprintf("http://127.0.0.1:%d", port)
			for query, want := range c.answers {
				if got := m.get("/"+query, "").body; !strings.Contains(got, want) {
					t.Errorf("%s: %q, want %q", query, got, want)
				}
			}
			seen := map[bool]int{}
			for range 60 {
				seen[strings.Contains(m.get("/"+c.split, "").body, "v1 ")]++
			}
			if seen[true] <= seen[false] || seen[false] == 0 {
				t.Errorf("of 60, %d are v1's and %d are not", seen[true], seen[false])
			}
		})
	}
}
