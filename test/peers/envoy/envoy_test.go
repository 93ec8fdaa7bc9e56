// Package envoy drives the same bytes through a stock Envoy and through this
// proxy, with the same bootstrap, and compares what both did: what the client
// got, what arrived upstream, what the access log says, and what became of the
// connection. README.md tells how a case is written.
package envoy

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/proxy"
)

var (
	only = flag.String("cases", "", "a glob: only these cases, `group/name`")
	show = flag.Bool("show", false, "print what Envoy did")
)

// together is how many cases are in flight. They wait more than they work.
const together = 24

// rounds is how often a case may be played until both do the same. What
// differs each time is a difference; what differs once is two peers and a busy
// machine that took two steps in another order. It is logged.
const rounds = 3

func TestCases(t *testing.T) {
	dir := t.TempDir()
	if err := makeCerts(dir); err != nil {
		t.Fatal(err)
	}
	cases := slices.DeleteFunc(loadCases(t), func(c *caseFile) bool {
		ok, err := path.Match(*only, c.name)
		if strings.HasPrefix(c.name, "source/") && os.Geteuid() != 0 {
			return true // addresses of others are for those who may (CAP_NET_ADMIN)
		}
		return *only != "" && (err != nil || !ok)
	})
	diffs := loadDifferences(t)
	verdicts := map[string]*verdict{}
	for n, again := 0, cases; n < rounds && len(again) > 0; n++ {
		theirs, ours := playAll(t, filepath.Join(dir, fmt.Sprint(n)), again)
		var faulty []*caseFile
		for i, c := range again {
			v := &verdict{theirs: theirs[i], faults: compare(c, theirs[i], ours[i], diffs)}
			if old := verdicts[c.name]; old != nil {
				v.before = append(old.before, old.faults...)
			}
			verdicts[c.name] = v
			if len(v.faults) > 0 {
				faulty = append(faulty, c)
			}
		}
		again = faulty
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := verdicts[c.name]
			if *show {
				t.Logf("client:\n%s\n%s\n%s\n%s", v.theirs.client, v.theirs.upstream, v.theirs.log, v.theirs.stats)
			}
			for _, f := range v.faults {
				t.Error(f)
			}
			if len(v.faults) == 0 && len(v.before) > 0 {
				t.Logf("differed, and then did not:\n%s", strings.Join(v.before, "\n"))
			}
		})
	}
	if *only == "" {
		diffs.unused(t)
	}
}

// verdict is what the last round of a case showed.
type verdict struct {
	theirs         result
	faults, before []string // of this round, of those before
}

// play plays the cases once, each on both proxies at the same time.
func play(t *testing.T, dir string, cases []*caseFile, at int) (a, b []result) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Addresses of this process's own: several runs may share a machine.
	pid := os.Getpid()
	base := fmt.Sprintf("127.%d.%d.", 16+pid>>8&0x3f, pid&0xff)
	host := func(n int) string { return base + strconv.Itoa(at+n) }
	theirs := place{proxy: host(1), upstream: host(2), client: host(5), log: filepath.Join(dir, "envoy.log")}
	ours := place{proxy: host(3), upstream: host(4), client: host(5), log: filepath.Join(dir, "weft.log")}
	stopTheirs := startEnvoy(t, dir, bootstrap(t, cases, theirs), theirs)
	stopOurs := startWeft(t, dir, bootstrap(t, cases, ours), ours)

	a, b = make([]result, len(cases)), make([]result, len(cases))
	g := errgroup.Group{}
	g.SetLimit(together)
	for i, c := range cases {
		g.Go(func() error {
			var wg sync.WaitGroup
			wg.Go(func() { a[i] = (&run{c: c, p: theirs, index: i}).execute(t) })
			b[i] = (&run{c: c, p: ours, index: i}).execute(t)
			wg.Wait()
			return nil
		})
	}
	_ = g.Wait()
	stats(t, theirs, cases, a)
	stats(t, ours, cases, b)
	stopTheirs()
	stopOurs()
	logs(t, theirs, cases, a)
	logs(t, ours, cases, b)
	return a, b
}

// compare lists what is wrong with one case.
func compare(c *caseFile, theirs, ours result, diffs *differences) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	for _, part := range []struct{ what, theirs, ours string }{
		{"client", theirs.client, ours.client}, {"upstream", theirs.upstream, ours.upstream}, {"log", theirs.log, ours.log}, {"stats", theirs.stats, ours.stats},
	} {
		d := cmp.Diff(strings.Split(part.theirs, "\n"), strings.Split(part.ours, "\n"))
		known := diffs.find(c.name, part.what)
		switch {
		case d != "" && known == nil:
			fault("%s: Envoy (-), Weft (+):\n%s", part.what, d)
		case d == "" && known != nil:
			fault("%s: differences.txt expects a difference in %q, and there is none: take it off the list", c.name, part.what)
		}
	}
	for _, b := range [][]string{theirs.broken, ours.broken} {
		if len(b) > 0 {
			fault("what came could not be read, so the case says nothing: %q", b)
		}
	}
	if len(theirs.late) > 0 {
		fault("with Envoy these steps waited in vain: %q", theirs.late)
	}
	if len(ours.late) > 0 && diffs.find(c.name, "client") == nil {
		fault("with Weft these steps waited in vain: %q", ours.late)
	}
	return faults
}

// differences are those that are known, each with its reason.
type differences struct{ list []*difference }

type difference struct {
	glob, what, reason string
	used               bool
}

func loadDifferences(t *testing.T) *differences {
	t.Helper()
	raw, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	d := &differences{}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		head, reason, ok := strings.Cut(line, ": ")
		glob, what, ok2 := strings.Cut(head, " ")
		if !ok || !ok2 || reason == "" {
			t.Fatalf("differences.txt: %q: want GLOB CLIENT|UPSTREAM|LOG|STATS: REASON", line)
		}
		for w := range strings.SplitSeq(what, ",") {
			d.list = append(d.list, &difference{glob: glob, what: w, reason: reason})
		}
	}
	return d
}

func (d *differences) find(name, what string) *difference {
	for _, k := range d.list {
		if ok, err := path.Match(k.glob, name); err == nil && ok && k.what == what {
			k.used = true
			return k
		}
	}
	return nil
}

func (d *differences) unused(t *testing.T) {
	for _, k := range d.list {
		if !k.used {
			t.Errorf("differences.txt: %s %s: no such case", k.glob, k.what)
		}
	}
}

// when is what tells in a log of ejections when it was.
var when = regexp.MustCompile(`"(timestamp|secs_since_last_action)":"[^"]*",`)

// logs puts the lines of the access log to their cases.
func logs(t *testing.T, p place, cases []*caseFile, out []result) {
	t.Helper()
	raw, err := os.ReadFile(p.log)
	if err != nil && !os.IsNotExist(err) { // Envoy makes it for the first line
		t.Fatal(err)
	}
	lines := map[string][]string{}
	for line := range strings.Lines(string(raw)) {
		name, rest, _ := strings.Cut(line, " ")
		if !strings.Contains(rest, " /-probe host="+probeHost) {
			lines[name] = append(lines[name], p.hide().Replace(rest))
		}
	}
	ejections, err := os.ReadFile(p.log + ".ejections")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for i, c := range cases {
		slices.Sort(lines[c.name])
		out[i].log = strings.Join(lines[c.name], "")
		for line := range strings.Lines(string(ejections)) {
			if strings.Contains(line, `"cluster_name":"`+c.id+".") {
				out[i].log += p.hide().Replace(when.ReplaceAllString(line, ""))
			}
		}
	}
}

func startEnvoy(t *testing.T, dir string, boot []byte, p place) (stop func()) {
	t.Helper()
	name := os.Getenv("WEFT_ENVOY")
	if name == "" {
		name = "envoy"
	}
	bin, err := exec.LookPath(name)
	if err != nil {
		t.Fatal("no Envoy to compare with: set WEFT_ENVOY to the binary of Envoy 1.40")
	}
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, boot, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error", "--file-flush-interval-msec", "200")
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	stop = sync.OnceFunc(func() {
		// Slow to the end: what clients left behind is still to be logged.
		if resp, err := http.Post(fmt.Sprintf("http://%s:%d/quitquitquit", p.proxy, adminPort), "", nil); err == nil {
			resp.Body.Close()
		} else {
			_ = cmd.Process.Kill()
		}
		<-gone
	})
	t.Cleanup(stop)
	ready(t, p, gone, func() string {
		s := said.String() // Envoy says its whole configuration with the error
		return s[:min(len(s), 1000)]
	})
	return stop
}

func startWeft(t *testing.T, dir string, boot []byte, p place) (stop func()) {
	t.Helper()
	file := filepath.Join(dir, "weft.yaml")
	if err := os.WriteFile(file, boot, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	var failed error
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() && *only != "" {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	go func() {
		failed = proxy.Run(ctx, proxy.Options{Bootstrap: file, Log: log, DrainTime: time.Second})
		close(gone)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-gone
		if failed != nil {
			t.Errorf("weft proxy: %v", failed)
		}
	})
	t.Cleanup(stop)
	ready(t, p, gone, func() string { return fmt.Sprint(failed) })
	return stop
}

// ready asks the admin API until it is.
func ready(t *testing.T, p place, gone <-chan struct{}, said func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for {
		if resp, err := http.Get(fmt.Sprintf("http://%s:%d/ready", p.proxy, adminPort)); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-gone:
			t.Fatalf("the proxy ended at once: %s", said())
		case <-limit.C:
			t.Fatal("the proxy was not ready in time")
		}
	}
}
