package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/proxy/agent"
)

// engine is one proxy to measure.
type engine struct {
	name string
	// setup makes the configurations of the processes that stand in a row, the
	// client's first; nil: the engine cannot do that.
	setup func(workload) func(ports []int, up, dir string) []string
	argv  func(config string) []string
	env   []string
}

// weftMain is weft-proxy with one more protocol, which a workload speaks.
const weftMain = "./examples/own-codec"

// prepare builds weft and finds the others.
func prepare(ctx context.Context, dir string, names []string) ([]engine, error) {
	weft := filepath.Join(dir, "weft-proxy")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", weft, weftMain)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build %s (run from the module's folder): %w\n%s", weftMain, err, out)
	}
	all := []engine{
		{name: "Weft", setup: bootstraps, env: []string{"GOMAXPROCS=1"}, argv: weftArgs(weft, "loop")},
		{name: "Weft-goroutines", setup: bootstraps, env: []string{"GOMAXPROCS=1"}, argv: weftArgs(weft, "goroutine")},
	}
	if envoy, err := agent.Find(""); err == nil {
		all = append(all, engine{name: "Envoy", setup: envoyBootstraps, argv: func(c string) []string {
			return []string{envoy, "-c", c, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"}
		}})
	} else if slices.Contains(names, "Envoy") {
		return nil, err
	}
	all = append(all, engine{name: "direct", setup: noBootstraps})
	if path, err := exec.LookPath("nginx"); err == nil {
		all = append(all, engine{name: "nginx", setup: func(w workload) func([]int, string, string) []string { return w.nginx }, argv: func(c string) []string {
			return []string{path, "-c", c, "-e", "stderr"}
		}})
	}
	if path, err := exec.LookPath("haproxy"); err == nil {
		all = append(all, engine{name: "HAProxy", setup: func(w workload) func([]int, string, string) []string { return w.haproxy }, argv: func(c string) []string {
			return []string{path, "-q", "-db", "-f", c}
		}})
	}
	var out []engine
	for _, n := range names {
		if name, path, ok := strings.Cut(n, "="); ok { // another build of weft-proxy, to compare
			out = append(out, engine{name: name, setup: bootstraps, env: []string{"GOMAXPROCS=1"}, argv: weftArgs(path, "loop")})
		} else if i := slices.IndexFunc(all, func(e engine) bool { return e.name == n }); i >= 0 {
			out = append(out, all[i])
		} else {
			fmt.Fprintf(os.Stderr, "bench: %s is not installed\n", n)
		}
	}
	return out, nil
}

// bootstraps is the setup of what reads Envoy's API.
func bootstraps(w workload) func([]int, string, string) []string { return w.bootstraps }

func envoyBootstraps(w workload) func([]int, string, string) []string {
	switch {
	case w.alone:
		return nil
	case w.envoy != nil:
		return w.envoy
	}
	return w.bootstraps
}

// noBootstraps is the setup of no proxy at all: the client calls the server.
func noBootstraps(w workload) func([]int, string, string) []string {
	if w.hops > 0 {
		return nil
	}
	return func([]int, string, string) []string { return nil }
}

func weftArgs(weft, host string) func(string) []string {
	return func(c string) []string {
		return []string{weft, "-c", c, "--io", host, "--log-level", "error", "--port-merged", "0", "--port-health", "0", "--port-prometheus", "0"}
	}
}

// running are the processes of one round, with their upstream.
type running struct {
	pids  []int
	admin []int // ports of their administration, when asked for
	addr  string
	stops []func()
}

func (r *running) stop() {
	for _, f := range slices.Backward(r.stops) {
		f()
	}
}

// launch starts fresh proxies. admin: with a port for their administration.
func launch(ctx context.Context, dir string, e engine, load workload, admin bool) (*running, error) {
	up, err := load.serve()
	if err != nil {
		return nil, err
	}
	r := &running{stops: []func(){func() { up.Close() }}}
	ports := make([]int, 1+load.hops)
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			r.stop()
			return nil, err
		}
	}
	configs := e.setup(load)(ports, up.Addr(), dir)
	for i, config := range slices.Backward(configs) { // the server's first
		if admin {
			port, err := freePort()
			if err != nil {
				r.stop()
				return nil, err
			}
			r.admin = append(r.admin, port)
			config = strings.Replace(config, noAdmin, fmt.Sprintf("port_value: %d", port), 1)
		}
		pid, stop, err := start(ctx, e, dir, config, ports[i])
		if err != nil {
			r.stop()
			return nil, err
		}
		r.stops = append(r.stops, stop)
		r.pids = append(r.pids, pid)
	}
	r.addr = fmt.Sprintf("127.0.0.1:%d", ports[0])
	if len(configs) == 0 {
		r.addr = up.Addr()
	}
	return r, nil
}

// measure runs one round: fresh proxies, a warm-up, the work.
func measure(ctx context.Context, dir string, e engine, load workload, scale float64) (sample, error) {
	r, err := launch(ctx, dir, e, load, false)
	if err != nil {
		return sample{}, err
	}
	defer r.stop()
	if load.unit == unitMB {
		return measureMemory(ctx, r, load)
	}
	n := max(1, int(float64(load.work)*scale))
	if _, err := load.drive(ctx, r.addr, max(1, n/10)); err != nil {
		return sample{}, fmt.Errorf("warm-up: %w", err)
	}
	before, _ := account(r.pids)
	begin := time.Now()
	times, err := load.drive(ctx, r.addr, n)
	if err != nil {
		return sample{}, err
	}
	wall := time.Since(begin) / time.Duration(n)
	after, memory := account(r.pids)
	s := sample{cpu: (after - before) / time.Duration(n), wall: wall, resident: memory}
	if len(times) > 0 {
		slices.Sort(times)
		s.p50, s.p99 = times[len(times)/2], times[len(times)*99/100]
	}
	return s, nil
}

// settle is how long a proxy has after its start, and after its work, to give
// back what it needed only for that.
const settle = 8 * time.Second

// measureMemory reads what connections cost that stay open.
func measureMemory(ctx context.Context, r *running, load workload) (sample, error) {
	if err := rest(ctx); err != nil {
		return sample{}, err
	}
	if _, err := load.drive(ctx, r.addr, load.work); err != nil {
		return sample{}, err
	}
	if err := rest(ctx); err != nil {
		return sample{}, err
	}
	var s sample
	for _, pid := range r.pids {
		s.resident += resident(pid)
		s.private += private(pid)
	}
	return s, nil
}

func rest(ctx context.Context) error {
	t := time.NewTimer(settle)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start runs a proxy until stop.
func start(ctx context.Context, e engine, dir, config string, port int) (pid int, stop func(), err error) {
	file := filepath.Join(dir, fmt.Sprintf("config-%d.yaml", port))
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return 0, nil, err
	}
	argv := e.argv(file)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), e.env...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	if err := reachable(ctx, fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		stop()
		return 0, nil, err
	}
	return cmd.Process.Pid, stop, nil
}

// account sums CPU time and memory of processes.
func account(pids []int) (cpu time.Duration, mb float64) {
	for _, pid := range pids {
		if t, err := cpuTime(pid); err == nil {
			cpu += t
		}
		mb += resident(pid)
	}
	return cpu, mb
}

var errNotUp = errors.New("the proxy does not listen")
