// Bench compares the Go proxy with a stock Envoy on the same bootstrap, and with
// nginx and HAProxy where they are installed and can do the same, in one run, in
// turns, one core each: CPU per request first, since times lie on a machine
// that others share.
//
// It measures the proxies' processes only, from the kernel's accounting
// (/proc/PID/task/*/schedstat); client and server are in this process. Every
// workload runs several rounds per engine, and the table has the median. It
// sends to loopback only, a bounded number of requests.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds per workload and engine")
	flag.Float64Var(&o.scale, "scale", 1, "how many requests, relative to the usual")
	flag.StringVar(&o.only, "only", "", "only workloads whose name has this in it")
	flag.StringVar(&o.engines, "engines", "Envoy,Weft,nginx,HAProxy", "what to measure; also Weft-goroutines: the other I/O host, direct: no proxy, and NAME=PATH: another build of weft-proxy")
	flag.StringVar(&o.profiles, "profiles", "", "a folder: write CPU profiles of Weft under the workloads there, and measure nothing")
	flag.IntVar(&o.seconds, "seconds", 6, "how long to profile each workload")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	rounds        int
	scale         float64
	only, engines string
	profiles      string
	seconds       int
}

// loads are the workloads that were asked for.
func (o options) loads() (out []workload) {
	for _, w := range workloads {
		if strings.Contains(w.name, o.only) {
			out = append(out, w)
		}
	}
	return out
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	engines, err := prepare(ctx, dir, strings.Split(o.engines, ","))
	if err != nil {
		return err
	}
	if o.profiles != "" {
		return profile(ctx, o, engines, dir, o.profiles)
	}
	w := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', 0)
	fmt.Fprint(w, "workload")
	for _, e := range engines {
		fmt.Fprint(w, "\t"+e.name)
	}
	fmt.Fprintln(w, "\tEnvoy ÷ Weft\tp50 / p99\tresident MB")
	for _, load := range o.loads() {
		got, err := rounds(ctx, dir, engines, load, o)
		if err != nil {
			return err
		}
		printRow(w, engines, load, got)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// rounds measures every engine that can do the work, in turns.
func rounds(ctx context.Context, dir string, engines []engine, load workload, o options) ([]sample, error) {
	got := make([][]sample, len(engines))
	for range o.rounds {
		for i, e := range engines {
			setup := e.setup(load)
			if setup == nil {
				continue
			}
			s, err := measure(ctx, dir, e, load, o.scale)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", load.name, e.name, err)
			}
			got[i] = append(got[i], s)
		}
	}
	out := make([]sample, len(engines))
	for i, list := range got {
		if len(list) > 0 {
			out[i] = median(list)
		}
	}
	return out, nil
}

func printRow(w *tabwriter.Writer, engines []engine, load workload, got []sample) {
	var latency, memory []string
	var envoy, weft sample
	fmt.Fprint(w, load.name)
	for i, e := range engines {
		s := got[i]
		if s.wall == 0 && s.resident == 0 {
			fmt.Fprint(w, "\t-")
			continue
		}
		switch e.name {
		case "Envoy":
			envoy = s
		case "Weft":
			weft = s
		}
		fmt.Fprint(w, "\t"+load.show(s))
		if s.p50 > 0 {
			latency = append(latency, short(s.p50)+" / "+short(s.p99))
		}
		memory = append(memory, fmt.Sprintf("%.0f", s.resident))
	}
	ratio := "-"
	if envoy.resident > 0 && weft.resident > 0 {
		ratio = load.ratio(envoy, weft)
	}
	fmt.Fprintf(w, "\t%s\t%s\t%s\n", ratio, strings.Join(latency, ", "), strings.Join(memory, ", "))
}

// sample is one round.
type sample struct {
	cpu      time.Duration // per unit of work
	p50, p99 time.Duration
	wall     time.Duration // per unit of work
	// MB, at the end of the round; of all processes.
	resident, private float64
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
		wall:     time.Duration(pick(func(s sample) float64 { return float64(s.wall) })),
		resident: pick(func(s sample) float64 { return s.resident }),
		private:  pick(func(s sample) float64 { return s.private }),
	}
}

func short(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
