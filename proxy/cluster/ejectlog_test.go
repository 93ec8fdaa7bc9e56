package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/cluster/health"
)

func TestEjectionLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var logs health.Logs
	defer logs.Close()
	l, err := logs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		m := NewManager(t.Context(), Options{Dialer: refuse{}, Ejections: l})
		stop := run(t, m)
		update(t, m, []*Spec{
			{Name: "c", Endpoints: endpoints(2), Outlier: &Outlier{Consecutive5xx: 2, Enforce5xx: 100, MaxEjectionPercent: 100, Interval: time.Second, BaseEjection: 3 * time.Second}},
			{Name: "w", Endpoints: endpoints(1), Outlier: &Outlier{Consecutive5xx: 2, MaxEjectionPercent: 100}},
			{Name: "r", Endpoints: endpoints(3), Outlier: &Outlier{
				MaxEjectionPercent: 100, Interval: 20 * time.Second,
				SuccessRate:       &SuccessRate{Enforce: 100, MinHosts: 2, MinVolume: 2, StdevFactorPerThousand: 500},
				FailurePercentage: &FailurePercentage{Enforce: 100, MinHosts: 2, MinVolume: 2, Threshold: 60},
			}},
		})
		h := host(t, m.Get("c"), 1)
		report(h, 500, 500)
		time.Sleep(5 * time.Second)
		report(h, 500, 500)
		report(host(t, m.Get("w"), 1), 500, 500)
		r := m.Get("r")
		report(host(t, r, 1), 500, 500)
		report(host(t, r, 2), 200, 200)
		report(host(t, r, 3), 200, 200)
		time.Sleep(16 * time.Second)
		synctest.Wait()
		stop()
	})
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"type":"CONSECUTIVE_5XX","timestamp":"2000-01-01T00:00:00.000Z","cluster_name":"c","upstream_url":"10.0.0.1:80","action":"EJECT","num_ejections":1,"enforced":true,"eject_consecutive_event":{}}`,
		`{"type":"CONSECUTIVE_5XX","timestamp":"2000-01-01T00:00:03.000Z","secs_since_last_action":"3","cluster_name":"c","upstream_url":"10.0.0.1:80","action":"UNEJECT","num_ejections":1,"enforced":false}`,
		`{"type":"CONSECUTIVE_5XX","timestamp":"2000-01-01T00:00:05.000Z","secs_since_last_action":"2","cluster_name":"c","upstream_url":"10.0.0.1:80","action":"EJECT","num_ejections":2,"enforced":true,"eject_consecutive_event":{}}`,
		`{"type":"CONSECUTIVE_5XX","timestamp":"2000-01-01T00:00:05.000Z","cluster_name":"w","upstream_url":"10.0.0.1:80","action":"EJECT","num_ejections":0,"enforced":false,"eject_consecutive_event":{}}`,
	}
	got := strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
	if len(got) != 6 {
		t.Fatalf("%d lines, want 6:\n%s", len(got), raw)
	}
	if diff := cmp.Diff(want, got[:4]); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(raw), `"eject_success_rate_event":{"host_success_rate":0,"cluster_average_success_rate":66,"cluster_success_rate_ejection_threshold":43}`) {
		t.Errorf("no ejection by success rate:\n%s", raw)
	}
}
