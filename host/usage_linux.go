package host

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc, the same on all Linux systems
// that Go runs on.
const clockTick = 10 * time.Millisecond

// Usage is what one part of a workload has used, with the processes below it.
type Usage struct {
	Namespace, Workload string
	Part                Part
	// CPU since the part was started, Memory resident now, in bytes.
	CPU    time.Duration
	Memory uint64
}

// Usage reads what everything that runs has used. It costs one read of a small
// file for every process of the machine.
func (h *Host) Usage() []Usage {
	h.mu.Lock()
	roots := map[int]int{}
	var out []Usage
	for _, r := range h.replicas {
		for part, pid := range map[Part]int{PartProgram: r.pid, PartProxy: r.proxyPID} {
			if pid != 0 {
				roots[pid] = len(out)
				out = append(out, Usage{Namespace: r.want.Namespace, Workload: r.want.Name, Part: part})
			}
		}
	}
	h.mu.Unlock()
	procs := readProcesses()
	for pid, p := range procs {
		root, ok := pid, false
		// Programs lead their process groups; a child that left the group is
		// found by its ancestors.
		if _, ok = roots[p.group]; ok {
			root = p.group
		}
		for hops := 0; !ok && hops < 64; hops++ {
			if _, ok = roots[root]; ok {
				break
			}
			up, known := procs[root]
			if !known {
				break
			}
			root = up.parent
		}
		if ok {
			u := &out[roots[root]]
			u.CPU += p.cpu
			u.Memory += p.memory
		}
	}
	return out
}

type processStat struct {
	parent, group int
	cpu           time.Duration
	memory        uint64
}

func readProcesses() map[int]processStat {
	out := map[int]processStat{}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return out
	}
	page := uint64(os.Getpagesize())
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue // ended meanwhile
		}
		// The name, in parentheses, may hold anything.
		i := bytes.LastIndexByte(raw, ')')
		if i < 0 {
			continue
		}
		v := strings.Fields(string(raw[i+1:])) // v[0] is field 3, the state
		if len(v) < 22 {
			continue
		}
		num := func(n int) int64 { x, _ := strconv.ParseInt(v[n-3], 10, 64); return x }
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		out[pid] = processStat{
			parent: int(num(4)), group: int(num(5)),
			cpu:    time.Duration(num(14)+num(15)+num(16)+num(17)) * clockTick,
			memory: uint64(max(0, num(24))) * page,
		}
	}
	return out
}

// Memory is what the machine has, in bytes; 0: unknown.
func Memory() float64 {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return n * 1024
		}
	}
	return 0
}
