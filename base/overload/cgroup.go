package overload

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Names of the monitors' resources.
const (
	CgroupMemory = "envoy.resource_monitors.cgroup_memory"
	CPU          = "envoy.resource_monitors.cpu_utilization"
)

// Root is where the system's files are: "/" but for tests.
type Root string

func (r Root) read(path string) (string, error) {
	b, err := os.ReadFile(filepath.Join(string(r), path))
	return strings.TrimSpace(string(b)), err
}

// number reads a file with one number; "max" is as much as there can be.
func (r Root) number(path string) (uint64, error) {
	s, err := r.read(path)
	if err != nil {
		return 0, err
	}
	if s == "max" {
		return math.MaxUint64, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// Files of the control group that the proxy is in, as a container sees them.
const (
	memoryNow2, memoryMost2 = "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.max"
	memoryNow1, memoryMost1 = "sys/fs/cgroup/memory/memory.usage_in_bytes", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	cpuStat2, cpuMax2       = "sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/cpu.max"
	cpuUsage1               = "sys/fs/cgroup/cpuacct/cpuacct.usage"
	cpuShares1              = "sys/fs/cgroup/cpu/cpu.shares"
	systemCPU               = "proc/stat"
)

// errNoCgroup says what is missing, and what to do.
var errNoCgroup = errors.New("there are no files of a control group under /sys/fs/cgroup: use envoy.resource_monitors.fixed_heap")

// GroupMemory watches the memory of the control group, of its limit or of most bytes,
// whichever is less; 0: of the limit. Without any limit there is no pressure.
func GroupMemory(name string, most uint64, root Root) (Monitor, error) {
	now, limit := memoryNow2, memoryMost2
	if _, err := root.read(now); errors.Is(err, fs.ErrNotExist) {
		now, limit = memoryNow1, memoryMost1
	}
	if _, err := root.read(now); err != nil {
		return Monitor{}, errNoCgroup
	}
	return Monitor{Name: name, Pressure: func() (float64, error) {
		used, err := root.number(now)
		if err != nil {
			return 0, err
		}
		bound, err := root.number(limit)
		if err != nil {
			return 0, err
		}
		if most > 0 {
			bound = min(bound, most)
		}
		if bound == math.MaxUint64 {
			return 0, nil
		}
		return min(float64(used)/float64(max(bound, 1)), 1), nil
	}}, nil
}

// smoothing is how much a new figure counts against those before, as in Envoy.
const smoothing = 0.05

// usage is what a reader of the processor's time has counted so far: of work, and of all there was.
type usage struct{ work, total float64 }

// CPUTime watches how busy the processors are: those of the machine, or what the control
// group has of them. It is smoothed: a burst of a second is no pressure yet.
func CPUTime(name string, group bool, root Root) (Monitor, error) {
	read := func() (usage, error) { return machineTime(root) }
	if group {
		read = groupTime(root)
	}
	before, err := read()
	if err != nil {
		return Monitor{}, err
	}
	var mu sync.Mutex // Pressure may be asked for by several
	pressure := 0.0
	return Monitor{Name: name, Pressure: func() (float64, error) {
		mu.Lock()
		defer mu.Unlock()
		now, err := read()
		if err != nil {
			return 0, err
		}
		if span := now.total - before.total; span > 0 {
			share := min(max((now.work-before.work)/span, 0), 1)
			pressure = share*smoothing + pressure*(1-smoothing)
			before = now
		}
		return pressure, nil
	}}, nil
}

// machineTime reads the first line of /proc/stat: user, nice, system and idle time.
func machineTime(root Root) (usage, error) {
	s, err := root.read(systemCPU)
	if err != nil {
		return usage{}, err
	}
	line, _, _ := strings.Cut(s, "\n")
	fields := strings.Fields(line)
	if len(fields) < 5 || fields[0] != "cpu" {
		return usage{}, fmt.Errorf("/%s begins with %q: want the times of all processors", systemCPU, line)
	}
	var n [4]float64
	for i := range n {
		if n[i], err = strconv.ParseFloat(fields[i+1], 64); err != nil {
			return usage{}, fmt.Errorf("/%s: %w", systemCPU, err)
		}
	}
	work := n[0] + n[1] + n[2]
	return usage{work, work + n[3]}, nil
}

// groupTime reads the control group's time, in seconds, against that of the processors
// that it may use.
func groupTime(root Root) func() (usage, error) {
	start := time.Now()
	return func() (usage, error) {
		used, cores, err := groupUsage(root)
		return usage{used, time.Since(start).Seconds() * cores}, err
	}
}

// groupUsage is the time that the control group has used, and how many processors it has.
func groupUsage(root Root) (seconds, cores float64, err error) {
	stat, err := root.read(cpuStat2)
	if errors.Is(err, fs.ErrNotExist) {
		return groupUsage1(root)
	}
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.SplitSeq(stat, "\n") {
		if rest, ok := strings.CutPrefix(line, "usage_usec "); ok {
			if seconds, err = strconv.ParseFloat(rest, 64); err != nil {
				return 0, 0, fmt.Errorf("/%s: %w", cpuStat2, err)
			}
		}
	}
	cores = float64(runtime.NumCPU())
	bound, err := root.read(cpuMax2)
	if err != nil {
		return 0, 0, err
	}
	var quota, period float64
	if n, _ := fmt.Sscanf(bound, "%f %f", &quota, &period); n == 2 && period > 0 {
		cores = min(cores, quota/period)
	}
	return seconds / 1e6, cores, nil
}

// groupUsage1 is groupUsage of the first version of control groups, in which shares of
// 1024 are a processor.
func groupUsage1(root Root) (seconds, cores float64, err error) {
	nanos, err := root.number(cpuUsage1)
	if err != nil {
		return 0, 0, errNoCgroup
	}
	shares, err := root.number(cpuShares1)
	if err != nil {
		return 0, 0, errNoCgroup
	}
	return float64(nanos) / 1e9, float64(max(shares, 1)) / 1024, nil
}
