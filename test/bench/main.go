// Bench compares the Go proxy with a stock Envoy on the same bootstrap, in one
// run, in turns, one core each: CPU per request first, since times lie on a
// machine that others share.
//
// It measures the proxy's process only, from the kernel's accounting
// (/proc/PID/task/*/schedstat); client and server are in this process. Every
// workload runs several rounds per engine, and the table has the median. It
// sends to loopback only, a bounded number of requests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/weftmesh/weft/proxy/agent"
)

func main() {
	rounds := flag.Int("rounds", 3, "rounds per workload and engine")
	scale := flag.Float64("scale", 1, "how many requests, relative to the usual")
	only := flag.String("only", "", "only workloads whose name has this in it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *rounds, *scale, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// engine is one proxy to measure.
type engine struct {
	name string
	argv func(bootstrap string) []string
	env  []string
}

func run(ctx context.Context, rounds int, scale float64, only string) error {
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	engines, err := prepare(ctx, dir)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', 0)
	fmt.Fprintln(w, "workload\tEnvoy CPU\tWeft CPU\tEnvoy ÷ Weft\tEnvoy p50 / p99\tWeft p50 / p99\tEnvoy MB\tWeft MB")
	for _, load := range workloads {
		if !strings.Contains(load.name, only) {
			continue
		}
		got := make([][]sample, len(engines))
		for range rounds {
			for i, e := range engines {
				s, err := measure(ctx, dir, e, load, scale)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", load.name, e.name, err)
				}
				got[i] = append(got[i], s)
			}
		}
		a, b := median(got[0]), median(got[1])
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f\t%s / %s\t%s / %s\t%.0f\t%.0f\n", load.name, load.show(a.cpu), load.show(b.cpu), float64(a.cpu)/float64(b.cpu),
			short(a.p50), short(a.p99), short(b.p50), short(b.p99), a.resident, b.resident)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// prepare builds weft and finds Envoy.
func prepare(ctx context.Context, dir string) ([]engine, error) {
	weft := filepath.Join(dir, "weft")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", weft, "./cmd/weft")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build ./cmd/weft (run from the module's folder): %w\n%s", err, out)
	}
	envoy, err := agent.Find("")
	if err != nil {
		return nil, err
	}
	return []engine{
		{name: "Envoy", argv: func(b string) []string {
			return []string{envoy, "-c", b, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"}
		}},
		{name: "Weft", env: []string{"GOMAXPROCS=1"}, argv: func(b string) []string {
			return []string{weft, "proxy", "-c", b, "--log-level", "error", "--port-merged", "0", "--port-health", "0", "--port-prometheus", "0"}
		}},
	}, nil
}

// sample is one round.
type sample struct {
	cpu      time.Duration // per unit of work
	p50, p99 time.Duration
	resident float64 // MB, at the end of the round
}

func median(list []sample) sample {
	pick := func(f func(sample) float64) float64 {
		v := make([]float64, len(list))
		for i, s := range list {
			v[i] = f(s)
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return sample{
		cpu:      time.Duration(pick(func(s sample) float64 { return float64(s.cpu) })),
		p50:      time.Duration(pick(func(s sample) float64 { return float64(s.p50) })),
		p99:      time.Duration(pick(func(s sample) float64 { return float64(s.p99) })),
		resident: pick(func(s sample) float64 { return s.resident }),
	}
}

func short(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.Round(10 * time.Microsecond).String()
}

// measure runs one round: a fresh proxy, a warm-up, the work.
func measure(ctx context.Context, dir string, e engine, load workload, scale float64) (sample, error) {
	up, err := load.serve()
	if err != nil {
		return sample{}, err
	}
	defer up.Close()
	port, err := freePort()
	if err != nil {
		return sample{}, err
	}
	bootstrap := filepath.Join(dir, "bootstrap.yaml")
	if err := os.WriteFile(bootstrap, []byte(load.bootstrap(port, up.Addr())), 0o600); err != nil {
		return sample{}, err
	}
	argv := e.argv(bootstrap)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), e.env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if err := reachable(ctx, addr); err != nil {
		return sample{}, err
	}
	n := max(1, int(float64(load.work)*scale))
	if _, err := load.drive(ctx, addr, max(1, n/10)); err != nil {
		return sample{}, fmt.Errorf("warm-up: %w", err)
	}
	before, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	times, err := load.drive(ctx, addr, n)
	if err != nil {
		return sample{}, err
	}
	after, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	s := sample{cpu: (after - before) / time.Duration(n), resident: resident(cmd.Process.Pid)}
	if len(times) > 0 {
		slices.Sort(times)
		s.p50, s.p99 = times[len(times)/2], times[len(times)*99/100]
	}
	return s, nil
}

var errNotUp = errors.New("the proxy does not listen")
