package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// profile writes CPU profiles of Weft under the workloads to dir, a file per process: what a
// profile-guided build is made from.
func profile(ctx context.Context, o options, engines []engine, work, dir string) error {
	i := slices.IndexFunc(engines, func(e engine) bool { return e.name == "Weft" })
	if i < 0 {
		return fmt.Errorf("-profiles: the engine Weft is not among %q", o.engines)
	}
	for _, load := range o.loads() {
		fmt.Fprintln(os.Stderr, "bench: profiling", load.name)
		r, err := launch(ctx, work, engines[i], load, true)
		if err == nil {
			err = profileOne(ctx, r, load, o, dir)
			r.stop()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", load.name, err)
		}
	}
	return nil
}

var unsafeInNames = regexp.MustCompile(`[^a-zA-Z0-9]+`)

// profileOne keeps a workload going until the profiles are there.
func profileOne(ctx context.Context, r *running, load workload, o options, dir string) error {
	n := max(1, int(float64(load.work)*o.scale/10))
	if _, err := load.drive(ctx, r.addr, n); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	var g errgroup.Group
	for i, port := range r.admin {
		g.Go(func() error {
			name := fmt.Sprintf("%s-%d.pprof", unsafeInNames.ReplaceAllString(load.name, "-"), i)
			return fetchProfile(ctx, port, o.seconds, filepath.Join(dir, name))
		})
	}
	for end := time.Now().Add(time.Duration(o.seconds) * time.Second); time.Now().Before(end); {
		if _, err := load.drive(ctx, r.addr, n); err != nil {
			return err
		}
	}
	return g.Wait()
}

func fetchProfile(ctx context.Context, port, seconds int, file string) error {
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", port, seconds)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
