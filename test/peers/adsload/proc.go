package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// procSample is one reading of a process: CPU seconds so far, resident MiB.
type procSample struct {
	CPU float64 // user+system seconds
	RSS float64 // MiB
	HWM float64 // MiB, peak resident since start
}

func readProc(pid int) (procSample, error) {
	var s procSample
	if pid <= 0 {
		return s, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	t := string(b)
	f := strings.Fields(t[strings.LastIndexByte(t, ')')+2:])
	ut, _ := strconv.ParseFloat(f[11], 64)
	st, _ := strconv.ParseFloat(f[12], 64)
	s.CPU = (ut + st) / 100 // USER_HZ
	if ns, ok := threads(pid); ok {
		s.CPU = ns / 1e9
	}
	b, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return s, err
	}
	for l := range strings.Lines(string(b)) {
		v := strings.Fields(l)
		if len(v) < 2 {
			continue
		}
		kb, _ := strconv.ParseFloat(v[1], 64)
		switch v[0] {
		case "VmRSS:":
			s.RSS = kb / 1024
		case "VmHWM:":
			s.HWM = kb / 1024
		}
	}
	return s, nil
}

// threads is the time that a process's threads have run, in nanoseconds, where the
// kernel counts so finely. Threads that have ended are not in it, which is well for a
// Go program: its threads stay.
func threads(pid int) (sum float64, ok bool) {
	list, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, p := range list {
		b, err := os.ReadFile(p)
		if err != nil {
			continue // it has just ended
		}
		if f := strings.Fields(string(b)); len(f) > 0 {
			ns, _ := strconv.ParseFloat(f[0], 64)
			sum += ns
		}
	}
	return sum, sum > 0
}

// rssWatch keeps the highest RSS seen since the last reset.
type rssWatch struct{ peak atomic.Int64 }

// run looks ten times a second until ctx ends.
func (w *rssWatch) run(ctx context.Context, pid int) {
	if pid <= 0 {
		return
	}
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if s, err := readProc(pid); err == nil {
				if v := int64(s.RSS); v > w.peak.Load() {
					w.peak.Store(v)
				}
			}
		}
	}
}

func (w *rssWatch) reset() float64 { return float64(w.peak.Swap(0)) }

// machineBusy is the CPU seconds that all processes of the machine have used.
func machineBusy() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	f := strings.Fields(strings.SplitN(string(b), "\n", 2)[0])
	var s float64
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // user nice system irq softirq steal
		v, _ := strconv.ParseFloat(f[i], 64)
		s += v
	}
	return s / 100
}
