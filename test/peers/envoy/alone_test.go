package envoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// aside is how many pairs of proxies that serve one case each run at a time.
const aside = 4

// playAll plays the cases that share a bootstrap together, and those that change it
// each on proxies of its own.
func playAll(t *testing.T, dir string, cases []*caseFile) (a, b []result) {
	t.Helper()
	var shared []*caseFile
	var at []int // where they stand in cases
	a, b = make([]result, len(cases)), make([]result, len(cases))
	g := errgroup.Group{}
	g.SetLimit(aside)
	alone := 0
	for i, c := range cases {
		if c.config["bootstrap"] == nil {
			shared, at = append(shared, c), append(at, i)
			continue
		}
		alone++
		hosts := alone * hostsOfPlay
		g.Go(func() error {
			x, y := play(t, fmt.Sprintf("%s-%s", dir, c.id), []*caseFile{c}, hosts)
			a[i], b[i] = x[0], y[0]
			return nil
		})
	}
	if len(shared) > 0 {
		x, y := play(t, filepath.Clean(dir), shared, 0)
		for k, i := range at {
			a[i], b[i] = x[k], y[k]
		}
	}
	_ = g.Wait()
	return a, b
}

// hostsOfPlay is how many addresses a pair of proxies needs.
const hostsOfPlay = 5

// hold opens a connection beside the client's, which lasts until the case is over, and
// notes whether a request is answered on it.
func (r *run) hold(t *testing.T) {
	from := &net.TCPAddr{IP: net.ParseIP(r.p.client)}
	nc, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", net.JoinHostPort(r.p.proxy, strconv.Itoa(listenPort+r.index)))
	if err != nil {
		t.Errorf("%s: %v", r.c.name, err)
		return
	}
	c := &client{r: r, nc: nc}
	r.wg.Go(c.read)
	c.write(probe)
	r.until("hold", func() bool { return c.end != "" || c.finals(false) > 0 })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = append(r.held, c)
	r.noted += map[bool]string{true: "held: open\n", false: "held: closed\n"}[c.end == ""]
}

// stat waits until a statistic has a value. LISTENER stands for its listener.
func (r *run) stat(name, want string) {
	name = strings.Replace(name, "LISTENER", fmt.Sprintf("listener.%s_%d", r.p.proxy, listenPort+r.index), 1)
	limit, got := time.Now().Add(stepLimit), ""
	for ; time.Now().Before(limit); time.Sleep(50 * time.Millisecond) {
		if got = r.statNow(name); got == want {
			return
		}
	}
	r.change(func() { r.late = append(r.late, fmt.Sprintf("%s is %s, want %s", name, got, want)) })
}

func (r *run) statNow(name string) string {
	q := url.Values{"filter": {"^" + strings.ReplaceAll(name, ".", "\\.") + "$"}}
	resp, err := http.Get(fmt.Sprintf("http://%s:%d/stats?%s", r.p.proxy, adminPort, q.Encode()))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	_, value, _ := strings.Cut(strings.TrimSpace(string(raw)), ": ")
	return value
}
