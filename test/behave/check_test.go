package behave

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// judge compares answers with what a step says of them.
func (s *step) judge(list []answer, o *origin) error {
	status, version, name := map[string]int{}, map[string]int{}, map[string]int{}
	for _, a := range list {
		seen, err := s.one(a, o)
		if err != nil {
			return err
		}
		status[strconv.Itoa(a.Status)]++
		version[seen.Version]++
		name[strings.TrimSuffix(seen.Name, "-0")]++
	}
	want := s.Status
	if want["any"] > 0 {
		want = nil
	} else if want == nil && !s.Error && !s.plain() {
		want = shares{"200": 100}
	}
	for _, x := range []struct {
		what string
		want shares
		got  map[string]int
	}{{"status", want, status}, {"version", s.Version, version}, {"name", s.Name, name}} {
		if err := x.want.compare(x.got, len(list)); err != nil {
			return fmt.Errorf("%s: %w; the first answer is %s", x.what, err, list[0])
		}
	}
	for v, percent := range s.Fewer {
		if got := float64(version[v]) * 100 / float64(len(list)); got > percent {
			return fmt.Errorf("%v %% of the answers are from %s, want at most %v", got, v, percent)
		}
	}
	if s.Same && len(name) != 1 {
		return fmt.Errorf("answers are from %v, want them from one", name)
	}
	return nil
}

// plain: there are no statuses.
func (s *step) plain() bool {
	return strings.HasPrefix(s.Ask, "TCP ") || strings.HasPrefix(s.Ask, "TLS ") || strings.HasPrefix(s.Ask, "UDP ")
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s %v %.300q after %v %s", a.Status, a.GRPC, a.Headers, a.Body, a.Took, a.Error)
}

// compare checks shares of n; what is left to chance may be off by five standard
// deviations.
func (s shares) compare(got map[string]int, n int) error {
	if s == nil {
		return nil
	}
	for k := range got {
		if _, ok := s[k]; !ok {
			return fmt.Errorf("got %v, want %v", got, s)
		}
	}
	for k, percent := range s {
		p := percent / 100
		off := 5 * math.Sqrt(float64(n)*p*(1-p))
		if math.Abs(float64(got[k])-float64(n)*p) > off {
			return fmt.Errorf("got %v, want %v", got, s)
		}
	}
	return nil
}

// one compares a single answer, and returns what the server saw, if one did.
func (s *step) one(a answer, o *origin) (seen saw, err error) {
	get := func(x string) string { return strings.ReplaceAll(fill(x, o.world.values), "${SELF}", o.address) }
	if s.Error != (a.Error != "") {
		return seen, fmt.Errorf("error %v, want %v: %s", a.Error != "", s.Error, a)
	}
	switch {
	case s.plain():
		if f := strings.Fields(a.Body); len(f) > 1 {
			seen.Name, seen.Version = f[0], f[1]
		}
	case strings.HasPrefix(a.Body, `{"Name"`):
		if err := json.Unmarshal([]byte(a.Body), &seen); err != nil {
			return seen, err
		}
	}
	for _, x := range []struct{ what, want, got string }{
		{"path", get(s.Path), seen.Path},
		{"host", get(s.Seen), seen.Host},
		{"method", s.Method, seen.Method},
		{"protocol", s.Proto, seen.Proto},
		{"grpc-status", s.GRPC, a.GRPC},
	} {
		if x.want != "" && x.got != x.want {
			return seen, fmt.Errorf("%s is %q, want %q: %s", x.what, x.got, x.want, a)
		}
	}
	if s.Port != 0 && seen.Port != s.Port {
		return seen, fmt.Errorf("port %d, want %d", seen.Port, s.Port)
	}
	if s.SAN != "" && !slices.Contains(a.Certificate, get(s.SAN)) {
		return seen, fmt.Errorf("the certificate is for %v, want %s", a.Certificate, get(s.SAN))
	}
	if s.Client != "" && !slices.Contains(seen.Client, get(s.Client)) {
		return seen, fmt.Errorf("the client's certificate is for %v, want %s: %s", seen.Client, get(s.Client), a)
	}
	if want := get(s.Answer); want != "" && !strings.Contains(a.Body, want) {
		return seen, fmt.Errorf("no %q in %s", want, a)
	}
	if d := time.Duration(s.Least); a.Took < d {
		return seen, fmt.Errorf("took %v, want at least %v: %s", a.Took, d, a)
	}
	if d := time.Duration(s.Most); d > 0 && a.Took > d {
		return seen, fmt.Errorf("took %v, want at most %v: %s", a.Took, d, a)
	}
	if err := headers("sent", s.Sent, seen.Headers, get); err != nil {
		return seen, fmt.Errorf("%w: %s", err, a)
	}
	if err := headers("got", s.Got, a.Headers, get); err != nil {
		return seen, fmt.Errorf("%w: %s", err, a)
	}
	return seen, nil
}

// headers compares those that are named: null for none, ~PATTERN, or the value; of
// several of a name, joined by commas.
func headers(what string, want map[string]*string, have http.Header, get func(string) string) error {
	for k, w := range want {
		v := strings.Join(have.Values(k), ",")
		if w == nil {
			if len(have.Values(k)) > 0 {
				return fmt.Errorf("%s %s: %q, want none", what, k, v)
			}
			continue
		}
		if err := matches(get(*w), v); err != nil {
			return fmt.Errorf("%s %s: %w", what, k, err)
		}
	}
	return nil
}

// matches compares with a value, or with ~PATTERN.
func matches(want, got string) error {
	if p, ok := strings.CutPrefix(want, "~"); ok {
		re, err := regexp.Compile(p)
		if err != nil {
			return err
		}
		if re.MatchString(got) {
			return nil
		}
	} else if want == got {
		return nil
	}
	return fmt.Errorf("%q, want %q", got, want)
}

// soon tries until f succeeds, for what proxies do behind a request's back. In the first
// round it is not insisted on: a connection may still see what was before a change.
func soon(ctx context.Context, round int, f func() error) error {
	limit := min(*bound, 15*time.Second)
	if round == 0 {
		limit = 2 * time.Second
	}
	for end := time.Now().Add(limit); ; {
		err := f()
		if err == nil || errors.Is(err, errFinal) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// errFinal marks what no waiting changes.
var errFinal = errors.New("for good")

// once has soon give up at the first failure.
func once(f func() error) func() error {
	return func() error {
		if err := f(); err != nil {
			return fmt.Errorf("%w (%w)", err, errFinal)
		}
		return nil
	}
}

// left is what is known of a step when its answers are there.
type left struct {
	agent   string
	answers []answer
	round   int
}

// after compares what is left behind by a request: copies, lines of logs, metrics, spans.
func (m *mesh) after(ctx context.Context, s *step, o *origin, l left, before map[string]map[string]float64) error {
	agent, answers, round := l.agent, l.answers, l.round
	if s.Mirrored != nil || s.Tries != nil {
		if err := soon(ctx, round, func() error { return m.checkSeen(ctx, s, o, agent, answers) }); err != nil {
			return err
		}
	}
	for who, want := range s.Log {
		want = fill(want, o.world.values)
		check := func() error { return m.checkLog(o.proxy(who), agent, want, max(s.Times, 1)) }
		if want == "!" { // what is there will not go
			check = once(check)
		}
		if err := soon(ctx, round, check); err != nil {
			return fmt.Errorf("log of %s: %w", who, err)
		}
	}
	for _, x := range s.Metrics {
		check := func() error { return m.checkMetric(ctx, x, o, before[o.proxy(x.Of)]) }
		if x.Absent {
			check = once(check)
		}
		if err := soon(ctx, round, check); err != nil {
			return fmt.Errorf("metric of %s: %w", x.Of, err)
		}
	}
	if s.Span != nil {
		if err := soon(ctx, round, func() error { return m.checkSpan(ctx, s.Span, o, agent) }); err != nil {
			return err
		}
	}
	values := maps.Clone(o.world.values)
	values["AGENT"], values["SELF"] = agent, o.address
	for _, parts := range s.Collected {
		if err := soon(ctx, round, func() error { return m.checkCollected(ctx, parts, values) }); err != nil {
			return err
		}
	}
	return nil
}

// checkCollected looks for an entry of the collector's that has all parts.
func (m *mesh) checkCollected(ctx context.Context, parts []string, values map[string]string) error {
	var list []string
	if err := m.tellers["outside/outside"].post(ctx, "/notes", nil, &list); err != nil {
		return err
	}
	best, most := "", -1
	for _, e := range list {
		n := 0
		for _, p := range parts {
			if strings.Contains(e, fill(p, values)) {
				n++
			}
		}
		if n == len(parts) {
			return nil
		}
		if n > most {
			best, most = e, n
		}
	}
	return fmt.Errorf("no entry with %q among %d; the nearest: %.3000s", parts, len(list), best)
}

// checkSeen counts what servers saw of a step: what they did not answer was a copy.
func (m *mesh) checkSeen(ctx context.Context, s *step, o *origin, agent string, answers []answer) error {
	all, copies := 0, map[string]int{}
	for _, a := range answers {
		var x saw
		if json.Unmarshal([]byte(a.Body), &x) == nil {
			copies[x.Version]--
		}
	}
	for _, who := range []string{"v1", "v2", "other", "outside"} {
		var list []saw
		if err := m.tellers[o.proxy(who)].post(ctx, "/seen", agent, &list); err != nil {
			return err
		}
		all += len(list)
		copies[who] += len(list)
	}
	n := max(s.Times, 1)
	if s.Tries != nil && all != *s.Tries {
		return fmt.Errorf("servers were asked %d times, want %d", all, *s.Tries)
	}
	for who, share := range s.Mirrored {
		if err := (shares{"copied": share, "": 100 - share}).compare(map[string]int{"copied": copies[who], "": n - copies[who]}, n); err != nil {
			return fmt.Errorf("%d of %d copied to %s, want %v %%", copies[who], n, who, share)
		}
	}
	for who, k := range copies {
		if s.Mirrored != nil && s.Mirrored[who] == 0 && k > 0 {
			return fmt.Errorf("%s got %d copies", who, k)
		}
	}
	return nil
}

// checkLog looks for a request's lines in a proxy's log.
func (m *mesh) checkLog(instance, agent, want string, times int) error {
	var lines []string
	for line := range strings.Lines(m.log(instance)) {
		if strings.Contains(line, agent) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if want == "!" {
		if len(lines) > 0 {
			return fmt.Errorf("%s, want none", lines[0])
		}
		return nil
	}
	if len(lines) < times {
		return fmt.Errorf("%d lines with %s, want %d", len(lines), agent, times)
	}
	for _, line := range lines {
		if err := matches("~"+want, line); err != nil {
			return err
		}
	}
	return nil
}

var series = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)`)

// scrape reads a proxy's metrics: values by name and labels.
func (m *mesh) scrape(ctx context.Context, instance string) (map[string]float64, error) {
	var list []answer
	a := ask{Method: http.MethodGet, URL: "http://" + net.JoinHostPort(m.address(instance), "15020") + "/stats/prometheus"}
	if err := m.tellers["outside/outside"].post(ctx, "/ask", a, &list); err != nil {
		return nil, err
	}
	if list[0].Status != http.StatusOK {
		return nil, fmt.Errorf("metrics of %s: %s", instance, list[0])
	}
	out := map[string]float64{}
	for line := range strings.Lines(list[0].Body) {
		if f := series.FindStringSubmatch(line); f != nil {
			if v, err := strconv.ParseFloat(f[3], 64); err == nil {
				out[f[1]+f[2]] = v
			}
		}
	}
	return out, nil
}

func (m *mesh) checkMetric(ctx context.Context, x metric, o *origin, before map[string]float64) error {
	instance, values := o.proxy(x.Of), o.world.values
	now, err := m.scrape(ctx, instance)
	if err != nil {
		return err
	}
	more, found := 0.0, 0
	var near []string
	for k, v := range now {
		name, labels, _ := strings.Cut(k, "{")
		if name != x.Name {
			continue
		}
		fits := true
		for l, w := range x.Labels {
			fits = fits && strings.Contains(","+labels, fmt.Sprintf(",%s=%q", l, fill(w, values)))
		}
		if fits {
			found++
			more += v - before[k]
		} else if v != before[k] {
			near = append(near, k)
		}
	}
	switch {
	case x.Absent && more > 0:
		return fmt.Errorf("%s%v has grown by %v, want it absent", x.Name, x.Labels, more)
	case !x.Absent && more < max(x.More, 1):
		return fmt.Errorf("%s%v: %d series have grown by %v, want %v; others: %.3000s", x.Name, x.Labels, found, more, max(x.More, 1), strings.Join(near, "\n"))
	}
	return nil
}

// checkSpan looks for a span of a request with these tags.
func (m *mesh) checkSpan(ctx context.Context, want map[string]string, o *origin, agent string) error {
	var list []span
	if err := m.tellers["outside/outside"].post(ctx, "/spans", nil, &list); err != nil {
		return err
	}
	var near []map[string]string
	for _, s := range list {
		if s.Tags["user_agent"] != agent {
			continue
		}
		fits := true
		for _, k := range slices.Sorted(maps.Keys(want)) {
			fits = fits && matches(fill(want[k], o.world.values), s.Tags[k]) == nil
		}
		if fits {
			return nil
		}
		near = append(near, s.Tags)
	}
	return fmt.Errorf("no span with %v; of this request: %v", want, near)
}
