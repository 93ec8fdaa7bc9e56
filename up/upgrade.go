package up

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/wire"
)

// defaultUpgradeTimeout is how long one proxy may take to take over.
const defaultUpgradeTimeout = time.Minute

// executable is what proxies run.
func (m *mesh) executable() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cmp.Or(m.upgraded, m.Executable)
}

// serveUpgrade carries out an UpgradeRequest while the client listens: who hangs
// up stops it after the step that is under way.
func (m *mesh) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	refuse := func(code int, err error) {
		w.WriteHeader(code)
		writeJSON(w, map[string]string{"error": err.Error()})
	}
	var req wire.UpgradeRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		refuse(http.StatusBadRequest, fmt.Errorf("request: %w", err))
		return
	}
	p, err := plan(req, m.host.Instances(), m.host.Labels)
	if err != nil {
		refuse(http.StatusBadRequest, err)
		return
	}
	if !m.upgrade.TryLock() {
		refuse(http.StatusConflict, errors.New("another upgrade is under way"))
		return
	}
	defer m.upgrade.Unlock()
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	p.say = func(e wire.UpgradeEvent) {
		_ = enc.Encode(e)
		_ = rc.Flush()
	}
	p.replace = func(ctx context.Context, i wire.Instance) (was, is wire.HandoverStatus, err error) {
		was, is, err = m.host.Upgrade(ctx, i.Namespace+"/"+i.Name, req.Executable)
		if err != nil {
			m.report.say(bad, "%s (proxy) is not upgraded: %v", i.Name, err)
		} else {
			m.report.say(plain, "%s (proxy) is upgraded from %s to %s", i.Name, was.Version, is.Version)
		}
		return was, is, err
	}
	if p.run(r.Context()) && p.whole {
		m.mu.Lock()
		m.upgraded = req.Executable
		m.mu.Unlock()
	}
}

// rollout is an upgrade in steps.
type rollout struct {
	wire.UpgradeRequest
	steps   [][]wire.Instance
	skipped map[*wire.Instance]string
	total   int
	whole   bool // all proxies there are

	say     func(wire.UpgradeEvent)
	replace func(context.Context, wire.Instance) (was, is wire.HandoverStatus, err error)
}

// plan chooses the instances and the steps.
func plan(req wire.UpgradeRequest, all []wire.Instance, labels func(key string) map[string]string) (*rollout, error) {
	if !filepath.IsAbs(req.Executable) {
		return nil, fmt.Errorf("executable %q: want an absolute path", req.Executable)
	}
	if fi, err := os.Stat(req.Executable); err != nil || fi.IsDir() || fi.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("executable %s: cannot be run", req.Executable)
	}
	if req.All == (len(req.Instances) > 0) {
		return nil, errors.New("name the instances to upgrade, or ask for all")
	}
	p := &rollout{UpgradeRequest: req, skipped: map[*wire.Instance]string{}}
	var chosen []wire.Instance
	named := map[string]bool{}
	for i := range all {
		in := &all[i]
		full := in.Name + "." + in.Namespace
		if !req.All && !slices.Contains(req.Instances, in.Name) && !slices.Contains(req.Instances, full) {
			continue
		}
		named[in.Name], named[full] = true, true
		if !matches(req.Selector, labels(in.Namespace+"/"+in.Name)) {
			continue
		}
		switch {
		case in.Engine == host.EngineGo:
			chosen = append(chosen, *in)
		case req.All:
			p.skipped[in] = "it runs no proxy of Weft's, but engine " + in.Engine
		default:
			return nil, fmt.Errorf("%s: its engine is %s: only proxies of engine go are replaced under way; restart it, or change its engine", in.Name, in.Engine)
		}
	}
	for _, n := range req.Instances {
		if !named[n] {
			return nil, fmt.Errorf("there is no instance %s: `weft status` lists them", n)
		}
	}
	keep, err := share("partition", req.Partition, len(chosen), 0)
	if err != nil {
		return nil, err
	}
	size, err := share("maxUnavailable", req.MaxUnavailable, len(chosen), 1)
	if err != nil {
		return nil, err
	}
	p.whole = req.All && len(req.Selector) == 0 && keep == 0
	chosen = chosen[:max(len(chosen)-keep, 0)]
	p.total = len(chosen)
	for step := range slices.Chunk(chosen, max(size, 1)) {
		p.steps = append(p.steps, step)
	}
	return p, nil
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// share reads a number, or a percentage of n, rounded up.
func share(field, s string, n, otherwise int) (int, error) {
	if s == "" {
		return otherwise, nil
	}
	digits, percent := strings.CutSuffix(s, "%")
	v, err := strconv.Atoi(digits)
	if err != nil || v < 0 || percent && v > 100 {
		return 0, fmt.Errorf("%s %q: want a number or a percentage, like 2 or 25%%", field, s)
	}
	if percent {
		v = (n*v + 99) / 100
	}
	return v, nil
}

// run does one step after the other until one fails.
func (p *rollout) run(ctx context.Context) bool {
	for in, why := range p.skipped {
		p.say(wire.UpgradeEvent{Instance: in.Name, Namespace: in.Namespace, State: "skipped", Error: why, Total: p.total})
	}
	done := 0
	for n, step := range p.steps {
		if n > 0 && !wait(ctx, p.Pause) {
			p.say(wire.UpgradeEvent{State: "stopped", Error: "told to stop", Done: done, Total: p.total})
			return false
		}
		ok := p.step(context.WithoutCancel(ctx), step, &done)
		if !ok {
			p.say(wire.UpgradeEvent{State: "stopped", Error: "an upgrade failed; what was not reached is as it was", Done: done, Total: p.total})
			return false
		}
	}
	p.say(wire.UpgradeEvent{State: "finished", Done: done, Total: p.total})
	return true
}

// step replaces some side by side. It is not broken off: a proxy that has begun
// to take over is let.
func (p *rollout) step(ctx context.Context, step []wire.Instance, done *int) bool {
	var wg sync.WaitGroup
	var mu sync.Mutex
	ok := true
	for _, in := range step {
		p.say(wire.UpgradeEvent{Instance: in.Name, Namespace: in.Namespace, State: "started", Done: *done, Total: p.total})
	}
	for _, in := range step {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.Timeout, defaultUpgradeTimeout))
			defer cancel()
			was, is, err := p.replace(ctx, in)
			mu.Lock()
			defer mu.Unlock()
			e := wire.UpgradeEvent{Instance: in.Name, Namespace: in.Namespace, State: "done", From: &was, To: &is, Total: p.total}
			if err != nil {
				ok = false
				e.State, e.To, e.Error = "failed", nil, err.Error()
			} else {
				*done++
			}
			e.Done = *done
			p.say(e)
		})
	}
	wg.Wait()
	return ok
}

// wait pauses; false: told to stop.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
