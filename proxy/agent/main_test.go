package agent

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"sigs.k8s.io/yaml"
)

// asEnvoy makes this program, started again by the agent, an Envoy that has only
// an admin API.
const asEnvoy = "WEFT_TEST_AS_ENVOY"

func TestMain(m *testing.M) {
	if os.Getenv(asEnvoy) != "" {
		if err := playEnvoy(os.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// playEnvoy answers where its bootstrap says, until it is killed or told to quit.
func playEnvoy(args []string) error {
	var file string
	for i, a := range args {
		if a == "-c" {
			file = args[i+1]
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var doc struct {
		Admin struct {
			Address struct{ Pipe struct{ Path string } }
		}
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return err
	}
	l, err := net.Listen("unix", doc.Admin.Address.Pipe.Path)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := os.Stat(filepath.Join(filepath.Dir(file), "ready")); err != nil {
			http.Error(w, "PRE_INITIALIZING", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/stats", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "# TYPE envoy_server_live gauge\nenvoy_server_live{format=%q} 1\n", r.URL.Query().Get("format"))
	})
	mux.HandleFunc("/server_info", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"version":"1.40"}`) })
	mux.HandleFunc("/end", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	return http.Serve(l, mux) //nolint:gosec // a test's
}
