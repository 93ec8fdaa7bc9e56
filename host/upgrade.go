package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/wire"
)

// Upgrading a proxy: a second process of the executable that is wanted is started
// beside it, in the same network, and takes over (wire.HandoverMessage). The old
// one goes on while it has connections.

// takePeriod is how often a new proxy is asked whether it has taken over.
const takePeriod = 20 * time.Millisecond

// Upgrade replaces the proxy of a workload by one of another executable; ctx
// bounds the time until it has taken over. When it cannot, the old one goes on as
// if nothing had been.
func (h *Host) Upgrade(ctx context.Context, key, executable string) (was, is wire.HandoverStatus, err error) {
	h.mu.Lock()
	r := h.replicas[key]
	h.mu.Unlock()
	switch {
	case r == nil:
		return was, is, fmt.Errorf("there is no %s with a proxy", key)
	case r.want.Engine == EngineEnvoy:
		return was, is, errors.New("it runs a stock Envoy, which Weft does not replace under way: change its engine, or restart it")
	case r.want.Engine != EngineGo:
		return was, is, errors.New("it has no proxy")
	}
	info := r.proxyInfo()
	info.Executable = executable
	if was, is, err = r.takeOver(ctx, info); err == nil {
		r.set(func() { r.executable = executable })
	}
	return was, is, err
}

// takeOver replaces the proxy's process by one that is started for info.
func (r *replica) takeOver(ctx context.Context, info Proxy) (was, is wire.HandoverStatus, err error) {
	socket := r.handover()
	if was, err = wire.AskHandoverStatus(ctx, socket); err != nil {
		return was, is, fmt.Errorf("its proxy does not answer: %w", err)
	}
	c := r.host.o.ProxyCommand(info)
	err = r.proxy.Replace(ctx, process.Replacement{
		Command: c.Argv, Env: append([]string{r.host.o.Dir.Mark()}, c.Env...),
		Taken: func(ctx context.Context) (err error) {
			is, err = taken(ctx, socket, was)
			return err
		},
	})
	if err != nil {
		return was, is, fmt.Errorf("the new proxy did not take over: %w; `weft logs --proxy %s` may tell why", err, r.want.Name)
	}
	return was, is, nil
}

// taken waits for another process to answer at the socket.
func taken(ctx context.Context, socket string, was wire.HandoverStatus) (wire.HandoverStatus, error) {
	t := time.NewTicker(takePeriod)
	defer t.Stop()
	for {
		// While one hands over to the other a question may find neither.
		if is, err := wire.AskHandoverStatus(ctx, socket); err == nil && is.Generation > was.Generation {
			return is, nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return was, fmt.Errorf("it is not ready: %w", context.Cause(ctx))
		}
	}
}

// Generations tells which processes a workload's proxy consists of.
func (h *Host) Generations(ctx context.Context, key string) (wire.HandoverStatus, bool) {
	h.mu.Lock()
	r := h.replicas[key]
	h.mu.Unlock()
	if r == nil || r.want.Engine != EngineGo {
		return wire.HandoverStatus{}, false
	}
	st, err := wire.AskHandoverStatus(ctx, r.handover())
	return st, err == nil
}

// Labels of a workload, as its proxy has them.
func (h *Host) Labels(key string) map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.replicas[key]; r != nil {
		return r.want.Labels
	}
	return nil
}
