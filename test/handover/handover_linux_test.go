package handover

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// number takes a size of the test from the environment: `make upgrade-soak`
// wants more than `make test`.
func number(t *testing.T, name string, otherwise int) int {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestUpgradesCutNothing replaces the proxy again and again under load of all
// kinds: no request fails, no connection is reset, no byte is lost, at either
// end; and the counts of all generations add up in the last.
func TestUpgradesCutNothing(t *testing.T) {
	upgrades, rate := number(t, "WEFT_UPGRADES", 3), number(t, "WEFT_UPGRADE_RATE", 600)
	b := newBackends(t)
	s := newSite(t, b)
	s.start(s.bootstrap)
	s.generation(0)
	l := &load{t: t, http: s.http, secure: s.sec, tcp: s.tcp, tls: s.client}
	l.start(rate)
	answered := func(n uint64) {
		t.Helper()
		from := l.exchanges.Load()
		s.until("clients go on being answered", func() bool { return l.exchanges.Load() >= from+n })
	}
	answered(uint64(rate))
	from, began := l.exchanges.Load(), time.Now()
	for i := range upgrades {
		s.start(s.bootstrap)
		s.generation(i + 1)
		answered(uint64(rate)) // about a second
	}
	t.Logf("%.0f exchanges per second", float64(l.exchanges.Load()-from)/time.Since(began).Seconds())
	st, err := s.status()
	if err != nil || len(st.Draining) == 0 {
		t.Errorf("status while long connections go on in the processes before: %+v, %v", st, err)
	}
	l.stop()
	s.until("the processes before have ended", func() bool {
		st, err := s.status()
		return err == nil && len(st.Draining) == 0
	})
	for i, p := range s.procs[:upgrades] {
		<-p.done
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("generation %d ended with %d", i, code)
		}
	}
	t.Logf("%d upgrades, %d exchanges, %d requests, %d bytes over TCP, %d responses said close",
		upgrades, l.exchanges.Load(), l.requests.Load(), l.tcpBytes.Load(), l.closes.Load())
	l.verdict(b)
	s.counted(l, upgrades)
}

// verdict compares the two ends.
func (l *load) verdict(b *backends) {
	for _, c := range []struct {
		what      string
		got, want uint64
	}{
		{"failed exchanges", l.failed.Load(), 0},
		{"connections reset at the backends", b.resets.Load(), 0},
		{"requests at the backends", b.requests.Load(), l.requests.Load()},
		{"bytes at the TCP backend", b.tcpBytes.Load(), l.tcpBytes.Load()},
		{"bytes back from the TCP backend", l.tcpBack.Load(), l.tcpBytes.Load()},
	} {
		if c.got != c.want {
			l.t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
	if l.closes.Load() == 0 {
		l.t.Error("no response said connection: close: were there any handovers?")
	}
}

// counted compares with what the last generation shows.
func (s *site) counted(l *load, upgrades int) {
	st := s.stats()
	if got, want := st["http.web.downstream_rq_total"]+st["http.secure.downstream_rq_total"], int64(l.requests.Load()); got != want {
		s.t.Errorf("downstream_rq_total of all generations: %d, want %d", got, want)
	}
	for name, want := range map[string]int64{
		"http.web.downstream_rq_active": 0, "cluster.web.membership_total": 1, "server.hot_restart_epoch": int64(upgrades),
	} {
		if got := st[name]; got != want {
			s.t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

// TestANewProcessThatDies: before it is ready it has no effect, and the next may
// try.
func TestANewProcessThatDies(t *testing.T) {
	b := newBackends(t)
	s := newSite(t, b)
	s.start(s.bootstrap)
	s.generation(0)
	// One that waits for a control plane that is not there, with the same listeners.
	text, err := os.ReadFile(s.bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	waits := filepath.Join(s.dir, "waits.yaml")
	text = append(text, "  - {name: xds, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: "+s.dir+"/none}}}}]}]}}\n"+
		"node: {id: a, cluster: b}\ndynamic_resources: {lds_config: {ads: {}, resource_api_version: V3}, cds_config: {ads: {}, resource_api_version: V3}, ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}\n"...)
	if err := os.WriteFile(waits, text, 0o600); err != nil {
		t.Fatal(err)
	}
	l := &load{t: t, http: s.http, secure: s.sec, tcp: s.tcp, tls: s.client}
	l.start(200)
	p := s.start(waits)
	s.until("it has the sockets", func() bool { return holds(p.cmd.Process.Pid, s.http) })
	from := l.exchanges.Load()
	s.until("clients are answered meanwhile", func() bool { return l.exchanges.Load() > from+100 })
	_ = p.cmd.Process.Kill()
	<-p.done
	from = l.exchanges.Load()
	s.until("clients are answered after it", func() bool { return l.exchanges.Load() > from+100 })
	s.generation(0)
	s.start(s.bootstrap)
	s.generation(1)
	l.stop()
	if n := l.failed.Load() + b.resets.Load(); n > 0 {
		t.Errorf("%d failures", n)
	}
}

// TestDrainTime: with a bound, connections that last are ended.
func TestDrainTime(t *testing.T) {
	b := newBackends(t)
	b.cuts = true
	s := newSite(t, b)
	first := s.start(s.bootstrap, "--drain-time", "200ms")
	s.generation(0)
	l := &load{t: t, tcp: s.tcp, tls: s.client, over: make(chan struct{})}
	hold := make(chan struct{})
	l.tickets = hold
	ended := make(chan error, 1)
	go func() { ended <- l.tcpOnce(2, l.tls) }()
	hold <- struct{}{}
	s.until("the connection is there", func() bool { return l.exchanges.Load() == 1 })
	s.start(s.bootstrap)
	s.generation(1)
	<-first.done
	hold <- struct{}{}
	if err := <-ended; err == nil {
		t.Error("the connection went on in a process that has ended")
	}
}

// TestBaseID: processes of the same number meet without being told where; what
// cannot be taken over from is refused.
func TestBaseID(t *testing.T) {
	s := newSite(t, newBackends(t))
	s.meet, s.socket = []string{"--base-id", "7"}, filepath.Join(s.dir, "weft", "proxy-7.sock")
	first := s.start(s.bootstrap)
	s.generation(0)
	s.start(s.bootstrap, "--parent-shutdown-time-s", "1")
	s.generation(1)
	<-first.done
	p := s.start(s.bootstrap, "--engine", "envoy")
	<-p.done
	if code, said := p.cmd.ProcessState.ExitCode(), p.out.String(); code != 2 || !strings.Contains(said, "engine envoy is not taken over from") {
		t.Errorf("--engine envoy: %d %s", code, said)
	}
}
