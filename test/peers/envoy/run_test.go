package envoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stepLimit bounds a step that waits. It is only met by a proxy that hangs: a
// case in which that is right is written with a step that ends.
const stepLimit = 30 * time.Second

// run is one case on one proxy.
type run struct {
	c     *caseFile
	p     place
	index int

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	// released counts the client's steps "release" per upstream.
	released  map[string]int
	upstreams []*upstream
	wg        sync.WaitGroup
	// stats are what the client's steps "stats" have read.
	stats string
	// late are steps that waited in vain.
	late []string
	// held are the clients of steps "hold"; noted is what such steps found.
	held  []*client
	noted string
	// broken is what could not be read: the case says nothing then.
	broken []string
}

// result is what is compared.
type result struct {
	client, upstream, log, stats string
	late, broken                 []string
}

func (r *run) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// until waits for ok, which is called with the lock held.
func (r *run) until(what string, ok func() bool) bool {
	limit := time.NewTimer(stepLimit)
	defer limit.Stop()
	for {
		r.mu.Lock()
		done, next := ok(), r.changed
		r.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-next:
		case <-limit.C:
			r.change(func() { r.late = append(r.late, what) })
			return false
		}
	}
}

func (r *run) upstream(name string) *upstream {
	for _, u := range r.upstreams {
		if u.s.name == name {
			return u
		}
	}
	return nil
}

// execute plays the case.
func (r *run) execute(t *testing.T) result {
	r.changed, r.released = make(chan struct{}), map[string]int{}
	for i, s := range r.c.upstreams {
		u := &upstream{r: r, s: s, exchanges: exchanges(s.steps)}
		r.upstreams = append(r.upstreams, u)
		if s.opt["down"] != "" {
			continue
		}
		if err := u.listen(fmt.Sprintf("%s:%d", r.p.upstream, upstreamPort(r.index, i))); err != nil {
			t.Errorf("%s: %v", r.c.name, err)
			return result{}
		}
	}
	var out result
	for _, s := range r.c.clients {
		out.client += r.client(t, s)
	}
	out.client += r.noted
	for _, c := range r.held {
		c.nc.Close()
	}
	for _, u := range r.upstreams {
		u.settle()
	}
	for _, u := range r.upstreams {
		u.close()
	}
	r.wg.Wait()
	for _, u := range r.upstreams {
		if s := u.String(); s != "" {
			out.upstream += "upstream " + u.s.name + "\n" + s
		}
	}
	out.client += r.stats
	out.late, out.broken = r.late, r.broken
	hide := r.p.hide()
	out.client, out.upstream = hide.Replace(out.client), hide.Replace(out.upstream)
	return out
}

func (r *run) client(t *testing.T, s script) string {
	if s.opt["udp"] != "" {
		return (&udpClient{r: r, s: s}).play(t)
	}
	// Both proxies see the same client, which is not at their own address.
	from := &net.TCPAddr{IP: net.ParseIP(r.p.client)}
	nc, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", net.JoinHostPort(r.p.proxy, strconv.Itoa(listenPort+r.index)))
	if err != nil {
		t.Errorf("%s: %v", r.c.name, err)
		return ""
	}
	title := ""
	if s.opt["tls"] != "" {
		if nc, title, err = handshake(nc, s.opt); err != nil {
			return title
		}
	}
	if s.opt["h2"] != "" {
		c := &h2Client{r: r, s: s, nc: nc}
		return title + c.play(t)
	}
	c := &client{r: r, s: s, nc: nc}
	return title + c.play(t)
}

// shared are the steps that all clients know.
func (r *run) shared(t *testing.T, st step) {
	switch st.verb {
	case "release":
		r.change(func() { r.released[arg(st, 0, "up")]++ })
	case "upstream":
		// upstream NAME N: it has N whole requests; upstream NAME text: it got that.
		u := r.upstream(st.args[0])
		_, rest, _ := strings.Cut(st.text, " ")
		r.until("client: "+st.text, func() bool { return u.has(rest) })
	case "lost":
		// lost NAME: all connections of that upstream have been closed by the proxy.
		u := r.upstream(arg(st, 0, "up"))
		r.until("client: lost "+st.text, func() bool { return u.lost() })
	case "stats":
		r.readStats(t, st)
	case "weight":
		r.awaitWeight(t, st)
	case "histogram":
		r.histogram(t, st)
	case "hold":
		r.hold(t)
	case "stat":
		r.stat(st.args[0], arg(st, 1, "1"))
	default:
		t.Errorf("%s: line %d: there is no step %q", r.c.name, st.line, st.verb)
	}
}

func arg(st step, i int, otherwise string) string {
	if i < len(st.args) {
		return st.args[i]
	}
	return otherwise
}

// readStats: stats CLUSTER REGEX: the statistics of a cluster of the case whose names
// begin with that.
func (r *run) readStats(t *testing.T, st step) {
	name, regex, _ := strings.Cut(st.text, " ")
	prefix := "cluster." + r.c.cluster(name) + "."
	filter := "^" + regexp.QuoteMeta(prefix) + "(" + regex + ")"
	raw := r.admin(t, "/stats?filter="+url.QueryEscape(filter))
	lines := strings.SplitAfter(raw, "\n")
	slices.Sort(lines)
	text := strings.ReplaceAll(strings.Join(lines, ""), prefix, "statistic ")
	r.stats += strings.ReplaceAll(text, r.p.upstream, "$upstream-host")
}

// histogram: histogram ALT NAME N, of the cluster with that alt_stat_name (Envoy takes names with dots apart): it waits until the histogram has that many values, and reads
// its buckets as Prometheus does. The sum is left out: Envoy's is rounded.
func (r *run) histogram(t *testing.T, st step) {
	name := "envoy_cluster_" + st.args[1]
	label := fmt.Sprintf("{envoy_cluster_name=%q", st.args[0])
	path := "/stats/prometheus?filter=" + url.QueryEscape(st.args[1]+"$")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(stepLimit); ; {
		lines := ""
		all := r.admin(t, path)
		for line := range strings.Lines(all) {
			if rest, ok := strings.CutPrefix(line, name+"_bucket"+label); ok {
				lines += "histogram " + st.args[1] + rest
			}
		}
		if strings.Contains(all, fmt.Sprintf("%s_count%s} %s\n", name, label, st.args[2])) {
			r.stats += lines
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			r.change(func() { r.late = append(r.late, "client: histogram "+st.text) })
			return
		}
	}
}

// awaitWeight: weight CLUSTER UPSTREAM N: it waits until the endpoint has that weight.
func (r *run) awaitWeight(t *testing.T, st step) {
	at := slices.IndexFunc(r.c.upstreams, func(s script) bool { return s.name == st.args[1] })
	line := fmt.Sprintf("%s::%s:%d::weight::%s\n", r.c.cluster(st.args[0]), r.p.upstream, upstreamPort(r.index, at), st.args[2])
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(stepLimit)
	for !strings.Contains(r.admin(t, "/clusters"), line) {
		select {
		case <-tick.C:
		case <-limit:
			r.change(func() { r.late = append(r.late, "client: weight "+st.text) })
			return
		}
	}
}

// admin is a page of the admin API.
func (r *run) admin(t *testing.T, path string) string {
	resp, err := http.Get(fmt.Sprintf("http://%s:%d%s", r.p.proxy, adminPort, path))
	if err != nil {
		t.Errorf("%s: %v", r.c.name, err)
		return ""
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("%s: %v", r.c.name, err)
	}
	return string(raw)
}
