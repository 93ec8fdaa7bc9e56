package telemetry

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// clockTicks is USER_HZ, 100 on every Linux that Go supports (sysconf(_SC_CLK_TCK)).
const clockTicks = 100

var (
	cpuDesc    = desc("weft_proxy_cpu_seconds_total", "CPU time of the proxy, with the engine that it runs.", nil)
	memoryDesc = desc("weft_proxy_resident_bytes", "Resident memory of the proxy, with the engine that it runs.", nil)
)

// Processes collects what the proxy's processes cost. PIDs returns them; 0 is
// this process. On systems without /proc it collects nothing.
type Processes struct{ PIDs func() []int }

// Describe implements prometheus.Collector.
func (Processes) Describe(out chan<- *prometheus.Desc) {
	out <- cpuDesc
	out <- memoryDesc
}

// Collect implements prometheus.Collector.
func (p Processes) Collect(out chan<- prometheus.Metric) {
	var cpu time.Duration
	var memory uint64
	found := false
	for _, pid := range p.PIDs() {
		c, m, err := usage(pid)
		if err != nil {
			continue // it has just ended
		}
		found = true
		cpu += c
		memory += m
	}
	if found {
		out <- prometheus.MustNewConstMetric(cpuDesc, prometheus.CounterValue, cpu.Seconds())
		out <- prometheus.MustNewConstMetric(memoryDesc, prometheus.GaugeValue, float64(memory))
	}
}

// usage reads CPU time and resident memory of a process.
func usage(pid int) (cpu time.Duration, resident uint64, err error) {
	name := "self"
	if pid != 0 {
		name = strconv.Itoa(pid)
	}
	stat, err := os.ReadFile("/proc/" + name + "/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("usage of process %s: %w", name, err)
	}
	// The command in parentheses may hold anything; fields are counted after it:
	// utime and stime are the 12th and 13th, rss (pages) the 22nd.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const utime, stime, rss = 11, 12, 21
	if len(fields) <= rss {
		return 0, 0, fmt.Errorf("usage of process %s: unexpected stat %q", name, stat)
	}
	var n [3]uint64
	for i, at := range []int{utime, stime, rss} {
		if n[i], err = strconv.ParseUint(string(fields[at]), 10, 64); err != nil {
			return 0, 0, fmt.Errorf("usage of process %s: %w", name, err)
		}
	}
	return time.Duration(n[0]+n[1]) * (time.Second / clockTicks), n[2] * uint64(os.Getpagesize()), nil
}
