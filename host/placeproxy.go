package host

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/wire"
)

// Capture mode proxy: no namespaces, so ports are allotted, and programs are
// told by environment where to listen and where their sidecar is.

// allot takes the ports that the replica needs on the host's loopback.
func (r *replica) allot() (err error) {
	take := func(wanted uint16) uint16 {
		if err != nil {
			return 0
		}
		var n uint16
		if n, err = r.host.ports.take(wanted); err == nil {
			r.allotted = append(r.allotted, n)
		}
		return n
	}
	sidecar := r.want.Engine != EngineNone
	if sidecar {
		r.proxyPorts = ProxyPorts{Admin: take(0), Merged: take(0), Health: take(0), Prometheus: take(0)}
		if r.want.Kind == KindProcess {
			r.proxyPorts.HTTPProxy = take(0)
		}
	} else {
		r.proxyPorts = ProxyPorts{Health: take(0)}
	}
	if r.want.Kind == KindGateway {
		return err
	}
	r.inbound = map[uint16]wire.ReplicaPort{}
	for _, p := range r.want.Ports {
		// One replica may have the port it always has; several cannot.
		wanted := p.Port
		if r.want.Replicas > 1 {
			wanted = 0
		}
		in := wire.ReplicaPort{Program: take(wanted)}
		in.Listen = in.Program
		if sidecar {
			in.Listen = take(0)
		}
		r.inbound[p.Port] = in
	}
	return err
}

// proxyEnvironment tells a program its ports and its sidecar.
func (r *replica) proxyEnvironment() []string {
	var env []string
	for i, p := range r.want.Ports {
		n := r.inbound[p.Port].Program
		if i == 0 {
			env = append(env, fmt.Sprintf("PORT=%d", n))
		}
		if p.Name != "" {
			name := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(p.Name))
			env = append(env, fmt.Sprintf("PORT_%s=%d", name, n))
		}
	}
	if r.proxyPorts.HTTPProxy == 0 {
		return env
	}
	to := fmt.Sprintf("http://%s", loopback4(r.proxyPorts.HTTPProxy))
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		env = append(env, name+"="+to, strings.ToLower(name)+"="+to)
	}
	const no = "localhost,127.0.0.1,::1"
	return append(env, "NO_PROXY="+no, "no_proxy="+no)
}

// fixedPortDelay is how long a program has to listen where it was told.
const fixedPortDelay = 3 * time.Second

// watchFixedPort says so when a program does not listen on $PORT but on the
// port that it always has: then only one of several replicas can run.
func (r *replica) watchFixedPort(wg *sync.WaitGroup) {
	if r.host.hub != nil || len(r.want.Ports) == 0 {
		return
	}
	fixed := r.want.Ports[0].Port
	told := r.inbound[fixed].Program
	if fixed == told {
		return
	}
	wg.Go(func() {
		t := time.NewTicker(fixedPortDelay)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-r.leave.Done():
				return
			}
			h := r.host
			h.mu.Lock()
			runs := r.pid != 0
			h.mu.Unlock()
			if runs && !r.answers(told) && r.answers(fixed) {
				err := fmt.Errorf("port %d is in use and the program does not listen on $PORT (%d): without namespaces all programs share this machine's ports; let it listen on $PORT, run one replica, or use --capture redirect", fixed, told)
				r.set(func() { r.state, r.message = "failed", err.Error() })
				h.notify(r.event(Problem, fmt.Sprintf("its port %d is fixed, and there are %d replicas", fixed, r.want.Replicas), err))
				return
			}
			if r.answers(told) {
				return
			}
		}
	})
}

func (r *replica) answers(port uint16) bool {
	ctx, cancel := context.WithTimeout(r.leave, time.Second)
	defer cancel()
	nc, err := r.program.Starter.Dial(ctx, "tcp", loopback4(port))
	if err != nil {
		return false
	}
	nc.Close()
	return true
}
