package behave

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// origin is who makes the requests of a case: one of the kinds that its steps name.
type origin struct {
	world *world
	// kind is client, other, outside; instance whose program asks, "east/client-eager".
	kind, instance string
	mode, address  string // of clients
}

func (o *origin) String() string {
	return o.world.ns + " " + o.kind + " " + o.engine() + " " + o.mode
}

// origins are all that the steps of a case need.
func (m *mesh) origins(c *scenario) (out []*origin) {
	clients := false
	for _, s := range c.steps {
		clients = clients || s.kind() == "client"
	}
	for _, w := range m.worlds {
		if !clients {
			out = append(out, &origin{w, "else", "", "", ""})
			continue
		}
		for _, mode := range []string{"eager", "on-demand"} {
			instance := w.ns + "/client-" + mode
			out = append(out, &origin{w, "client", instance, mode, m.address(instance)})
		}
	}
	return out
}

// kind is who asks.
func (s *step) kind() string {
	switch {
	case s.Via != "":
		return "outside"
	case s.From != "":
		return s.From
	}
	return "client"
}

// asker is the instance that makes a step's request, for an origin.
func (o *origin) asker(s *step) string {
	switch s.kind() {
	case "other":
		return o.world.ns + "-2/other"
	case "outside":
		return "outside/outside"
	}
	return o.instance
}

// proxy is the instance that a word of a case is, for an origin.
func (o *origin) proxy(word string) string {
	switch word {
	case "client":
		return o.instance
	case "other":
		return o.world.ns + "-2/other"
	case "outside":
		return "outside/outside"
	case "gateway":
		return o.world.ns + "/gateway"
	}
	return o.world.ns + "/reviews-" + word
}

// address of an instance's workload.
func (m *mesh) address(instance string) string {
	ns, name, _ := strings.Cut(instance, "/")
	for _, i := range m.host.Instances() {
		if i.Namespace == ns && i.App == name {
			return i.Address
		}
	}
	return ""
}

// run writes a case, waits until it is everywhere, makes all requests and compares.
// It returns how many rounds that took: connections and streams that were there
// before a change may still see what was before it.
//
// What comes later depends on when it comes: if it does not come right in short time, the
// whole case starts anew.
func (m *mesh) run(t *testing.T, c *scenario) (rounds int) {
	for begin := time.Now(); ; {
		n, faults := m.all(t, c, *bound)
		rounds += n
		if c.later == nil || len(faults) > 0 {
			report(t, faults)
			return rounds
		}
		if _, faults = m.all(t, c.later, patience/12); len(faults) == 0 || time.Since(begin) > *bound {
			report(t, faults)
			return rounds
		}
	}
}

func report(t *testing.T, faults []error) {
	t.Helper()
	for _, err := range faults {
		t.Error(err)
	}
}

// all makes all requests of a case, or of its later part, until they are right or time
// is up.
func (m *mesh) all(t *testing.T, c *scenario, limit time.Duration) (rounds int, faults []error) {
	m.write(c)
	m.await(t)
	m.checkFaults(t, c)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, o := range m.origins(c) {
		wg.Go(func() {
			n, err := m.insist(t.Context(), c, o, limit)
			mu.Lock()
			defer mu.Unlock()
			rounds = max(rounds, n)
			if err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", o, err))
			}
		})
	}
	wg.Wait()
	return rounds, faults
}

// engine is that of the client's proxy.
func (o *origin) engine() string {
	if o.mode == "on-demand" {
		return o.world.engine[1]
	}
	return o.world.engine[0]
}

// insist makes the requests of an origin until their outcome is right.
func (m *mesh) insist(ctx context.Context, c *scenario, o *origin, limit time.Duration) (round int, err error) {
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) { // a proxy puts into force what it has acknowledged
		if err = m.once(ctx, c, o, round); err == nil || time.Since(begin) > limit {
			return round + 1, err
		}
		round++
	}
}

// once makes all requests of an origin.
func (m *mesh) once(ctx context.Context, c *scenario, o *origin, round int) error {
	for i := range c.steps {
		s := &c.steps[i]
		if s.Only != "" && s.Only != o.mode && s.Only != o.engine() {
			continue
		}
		agent := fmt.Sprintf("behave-%s-%d-%d-%s-%s", c.name, i, round, o.world.ns, o.mode)
		if err := m.step(ctx, s, o, left{agent: agent, round: round}); err != nil {
			return fmt.Errorf("step %d, %s: %w", i, s.Ask, err)
		}
	}
	return nil
}

// step makes one request, or many, and compares the outcome.
func (m *mesh) step(ctx context.Context, s *step, o *origin, l left) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	a, err := m.ask(s, o, l.agent)
	if err != nil {
		return err
	}
	before := map[string]map[string]float64{}
	for _, x := range s.Metrics {
		p := o.proxy(x.Of)
		if before[p] == nil {
			if before[p], err = m.scrape(ctx, p); err != nil {
				return err
			}
		}
	}
	if err := m.tellers[o.asker(s)].post(ctx, "/ask", a, &l.answers); err != nil {
		return err
	}
	if err := s.judge(l.answers, o); err != nil {
		return err
	}
	return m.after(ctx, s, o, l, before)
}

// ask is what the program is told.
func (m *mesh) ask(s *step, o *origin, agent string) (a ask, err error) {
	values := maps.Clone(o.world.values)
	values["AGENT"] = agent
	placed := false
	if s.Token != nil {
		if values["TOKEN"], err = m.keys.token(s.Token); err != nil {
			return a, err
		}
		all := s.Ask
		for _, v := range s.Headers {
			all += v
		}
		placed = strings.Contains(all, "${TOKEN}")
	}
	get := func(x string) string { return fill(x, values) }
	a = ask{Body: get(s.Body), Size: s.Size, Host: get(s.Host), HTTP: s.HTTP, Times: s.Times, Parallel: s.Parallel, Fresh: s.Fresh, SNI: get(s.SNI), TLS: s.TLS, Proxy: get(s.Proxy)}
	a.Method, a.URL, _ = strings.Cut(get(s.Ask), " ")
	if a.Method == "GRPC" {
		a.URL, a.HTTP = "http://"+a.URL, "2"
	}
	for _, k := range slices.Sorted(maps.Keys(s.Headers)) {
		a.Headers = append(a.Headers, [2]string{k, get(s.Headers[k])})
	}
	if s.Token != nil && !placed {
		a.Headers = append(a.Headers, [2]string{"Authorization", "Bearer " + values["TOKEN"]})
	}
	a.Headers = append(a.Headers, [2]string{"User-Agent", agent})
	if s.Trust {
		a.Trust = m.keys.dir + "/ca.crt"
	}
	if s.Cert {
		a.Cert = m.keys.dir + "/client"
	}
	if s.As != "" {
		a.Cert = m.keys.dir + "/" + s.As
	}
	if s.Via != "" {
		a.Dial, err = dial(a, o.world.values["GATEWAY"])
	}
	return a, err
}

// dial is where a gateway is reached for a URL.
func dial(a ask, gateway string) (string, error) {
	if a.Method == "TCP" || a.Method == "TLS" || a.Method == "UDP" {
		_, port, err := net.SplitHostPort(a.URL)
		return net.JoinHostPort(gateway, port), err
	}
	u, err := url.Parse(a.URL)
	if err != nil {
		return "", err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(gateway, port), nil
}

// checkFaults compares the errors that the control plane has found with those that a
// case is said to have.
func (m *mesh) checkFaults(t *testing.T, c *scenario) {
	t.Helper()
	list, err := m.faults(c.expect.Findings)
	if err != nil {
		t.Error(err)
	}
	missing := slices.Clone(c.expect.Findings)
	for _, f := range list {
		if !slices.Contains(c.expect.Findings, f.Code) {
			t.Errorf("refused: %s", f)
		}
		missing = slices.DeleteFunc(missing, func(x string) bool { return x == f.Code })
	}
	if len(missing) > 0 {
		t.Errorf("no finding %v", missing)
	}
}
