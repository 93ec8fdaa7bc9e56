package envoy

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stepLimit bounds a step that waits. It is only met by a proxy that hangs: a
// case in which that is right is written with a step that ends.
const stepLimit = 8 * time.Second

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
	// late are steps that waited in vain.
	late []string
}

// result is what is compared.
type result struct {
	client, upstream, log string
	late                  []string
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
	out.late = r.late
	hide := r.p.hide()
	out.client, out.upstream = hide.Replace(out.client), hide.Replace(out.upstream)
	return out
}

func (r *run) client(t *testing.T, s script) string {
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
