package overload

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tree writes files under a folder of the test's.
func tree(t *testing.T, files map[string]string) Root {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		put(t, Root(dir), name, text)
	}
	return Root(dir)
}

func put(t *testing.T, root Root, name, text string) {
	t.Helper()
	path := filepath.Join(string(root), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGroupMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		most  uint64
		want  float64
	}{
		"version 2":        {map[string]string{memoryNow2: "30\n", memoryMost2: "120\n"}, 0, 0.25},
		"a lower bound":    {map[string]string{memoryNow2: "30", memoryMost2: "120"}, 60, 0.5},
		"a higher bound":   {map[string]string{memoryNow2: "30", memoryMost2: "120"}, 600, 0.25},
		"no limit":         {map[string]string{memoryNow2: "30", memoryMost2: "max"}, 0, 0},
		"a bound only":     {map[string]string{memoryNow2: "30", memoryMost2: "max"}, 60, 0.5},
		"above the bound":  {map[string]string{memoryNow2: "30", memoryMost2: "max"}, 10, 1},
		"version 1":        {map[string]string{memoryNow1: "30", memoryMost1: "40"}, 0, 0.75},
		"version 1, bound": {map[string]string{memoryNow1: "30", memoryMost1: "9223372036854771712"}, 60, 0.5},
	} {
		m, err := GroupMemory("m", tt.most, tree(t, tt.files))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := m.Pressure(); err != nil || got != tt.want {
			t.Errorf("%s: %v %v, want %v", name, got, err, tt.want)
		}
	}
	if _, err := GroupMemory("m", 0, tree(t, nil)); err == nil || !strings.Contains(err.Error(), "fixed_heap") {
		t.Errorf("without control groups: %v", err)
	}
	m, err := GroupMemory("m", 0, tree(t, map[string]string{memoryNow2: "1", memoryMost2: "junk"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Pressure(); err == nil {
		t.Error("junk was a limit")
	}
}

func TestMachineTime(t *testing.T) {
	root := tree(t, map[string]string{systemCPU: "cpu  100 0 100 800 0 0\ncpu0 1 1 1 1\n"})
	m, err := CPUTime("c", false, root)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := m.Pressure(); p != 0 || err != nil {
		t.Errorf("at first: %v %v", p, err)
	}
	put(t, root, systemCPU, "cpu  150 50 100 800 0 0\n") // all of the time was work
	p, _ := m.Pressure()
	if math.Abs(p-smoothing) > 1e-9 {
		t.Errorf("after a busy span: %v, want %v", p, smoothing)
	}
	put(t, root, systemCPU, "cpu  150 50 100 900 0 0\n") // none of it
	if q, _ := m.Pressure(); math.Abs(q-p*(1-smoothing)) > 1e-9 {
		t.Errorf("after an idle span: %v", q)
	}
	put(t, root, systemCPU, "intr 1")
	if _, err := m.Pressure(); err == nil {
		t.Error("junk was a time")
	}
	if _, err := CPUTime("c", false, tree(t, nil)); err == nil {
		t.Error("no file was a time")
	}
}

func TestGroupUsage(t *testing.T) {
	for name, tt := range map[string]struct {
		files         map[string]string
		seconds, core float64
	}{
		"version 2": {map[string]string{cpuStat2: "usage_usec 2500000\nuser_usec 1\n", cpuMax2: "50000 100000"}, 2.5, 0.5},
		"version 1": {map[string]string{cpuUsage1: "1500000000", cpuShares1: "2048"}, 1.5, 2},
	} {
		seconds, cores, err := groupUsage(tree(t, tt.files))
		if err != nil || seconds != tt.seconds || cores != tt.core {
			t.Errorf("%s: %v s of %v processors, %v", name, seconds, cores, err)
		}
	}
	if _, err := CPUTime("c", true, tree(t, nil)); err == nil || !strings.Contains(err.Error(), "control group") {
		t.Errorf("without control groups: %v", err)
	}
	m, err := CPUTime("c", true, tree(t, map[string]string{cpuUsage1: "0", cpuShares1: "1024"}))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := m.Pressure(); err != nil || p < 0 || p > 1 {
		t.Errorf("pressure %v %v", p, err)
	}
}
