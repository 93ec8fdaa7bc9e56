package host

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/gobuild"
	"github.com/weftmesh/weft/host/hub"
	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/wire"
)

// replica is one workload that runs: its network, its proxy, its program.
type replica struct {
	host *Host
	// Set at construction.
	want       *want
	frame      string
	dir        string // of the proxy's files
	admin      string // path of the socket that leads to the proxy's admin API
	addresses  []netip.Addr
	number     uint16
	token      string
	proxyPorts ProxyPorts
	inbound    map[uint16]wire.ReplicaPort // capture mode proxy
	allotted   []uint16
	started    time.Time
	programLog *process.Log // nil for a gateway
	proxyLog   *process.Log
	program    *process.Keeper // nil for a gateway
	proxy      *process.Keeper
	leave      context.Context // of the program
	cancel     context.CancelFunc
	done       chan struct{}
	up         chan struct{} // closed when the workload is ready for the first time
	upOnce     sync.Once
	proxyUp    chan struct{} // the same of its proxy
	proxyOnce  sync.Once

	// Guarded by host.mu.
	settings     ProxySettings // which may be newer than want's
	fingerprint  string        // of want with settings
	executable   string        // of the proxy since it was upgraded by itself
	roll         *roll         // nil: the proxy is not being started again
	state        string        // as in wire.Instance
	message      string
	programReady bool
	proxyReady   bool
	wasReady     bool
	leaving      bool
	pid          int
	proxyPID     int
	restarts     int
	virtual      []capture.Virtual // as installed
	loopback     []uint16          // ports on which the program listens on loopback only
	plugged      bool              // it has a network
}

// newReplica prepares a replica without starting anything.
func (h *Host) newReplica(w *want, id int) (*replica, error) {
	r := &replica{
		host: h, want: w, frame: w.frame(), fingerprint: w.fingerprint(), settings: w.Proxy, dir: h.o.Dir.Join("proxies", strconv.Itoa(id)),
		admin: h.o.Dir.Join("a", strconv.Itoa(id)+".sock"), started: time.Now(), state: "starting",
		done: make(chan struct{}), up: make(chan struct{}), proxyUp: make(chan struct{}), proxyPorts: wellKnownPorts(),
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	r.token = hex.EncodeToString(secret)
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := r.locate(); err != nil {
		return nil, err
	}
	if err := r.prepare(); err != nil {
		r.release()
		return nil, err
	}
	r.leave, r.cancel = context.WithCancel(h.ctx)
	return r, nil
}

// locate finds the replica's addresses and ports.
func (r *replica) locate() (err error) {
	h := r.host
	if h.capture == CaptureProxy {
		r.addresses = []netip.Addr{loopback4(0).Addr()}
		return r.allot()
	}
	if r.number, err = h.addrs.take(r.want.key()); err != nil {
		return err
	}
	r.addresses = []netip.Addr{at(h.layout.V4, r.number)}
	if h.info.IPv6 {
		r.addresses = append(r.addresses, at(h.layout.V6, r.number))
	}
	return nil
}

// prepare makes the keepers of proxy and program.
func (r *replica) prepare() (err error) {
	var starter process.Starter = process.Local{}
	if r.host.hub != nil {
		starter = placed{hub: r.host.hub, network: r.want.key(), loopback: r.loopbackOnly}
	}
	name := r.want.Namespace + "_" + r.want.Name
	p, err := r.proxyProgram()
	if err != nil {
		return err
	}
	if r.proxyLog, err = process.NewLog(r.host.o.Dir.Join("logs", name+".proxy.log"), 0); err != nil {
		return err
	}
	r.proxy = &process.Keeper{
		Program: p, Starter: starter, Log: r.proxyLog, Notify: r.proxyEvent, Force: r.host.force,
		Backoff: backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second},
	}
	if r.want.Process == nil {
		return nil
	}
	if r.programLog, err = process.NewLog(r.host.o.Dir.Join("logs", name+".log"), 0); err != nil {
		return err
	}
	r.program = &process.Keeper{Program: r.programSpec(), Starter: starter, Log: r.programLog, Notify: r.programEvent, Force: r.host.force}
	return nil
}

// programSpec is the user's program as a program to keep running.
func (r *replica) programSpec() process.Program {
	w := r.want
	p := process.Program{
		Name: w.Name, Command: w.Process.Command, Dir: w.Process.Dir, Address: r.addresses[0],
		Env: append(r.environment(), w.Process.Env...), Probe: r.programProbe(),
	}
	if run, ok := gobuild.Parse(w.Process.Dir, w.Process.Command); ok {
		p.Prepare = func(ctx context.Context, log *process.Log) ([]string, error) {
			r.set(func() { r.state = "building" })
			r.host.notify(r.event(Building, fmt.Sprint(run.Packages), nil))
			path, err := r.host.builder.Build(ctx, run, log)
			if err != nil {
				return nil, err
			}
			r.set(func() { r.state = "starting" })
			return append([]string{path}, run.Args...), nil
		}
	}
	return p
}

// programProbe is the probe written, or else one that sees the program begin
// to listen; it gives up, for not every port is TCP and not every program obeys.
func (r *replica) programProbe() *process.Probe {
	var p *process.Probe
	switch w := r.want; {
	case w.Process.Readiness != nil:
		c := *w.Process.Readiness
		p = &c
	case len(w.Ports) > 0:
		p = &process.Probe{TCP: true, Port: w.Ports[0].Port, GiveUp: 10 * time.Second}
	default:
		return nil
	}
	if in, ok := r.inbound[p.Port]; ok {
		p.Port = in.Program
	}
	return p
}

// environment is what programs get on top of the supervisor's.
func (r *replica) environment() []string {
	env := []string{
		r.host.o.Dir.Mark(), "HOSTNAME=" + r.want.Name, "POD_NAME=" + r.want.Name,
		"POD_NAMESPACE=" + r.want.Namespace, "POD_IP=" + r.addresses[0].String(),
	}
	if r.want.Engine == EngineNone {
		env = append(env, "GRPC_XDS_BOOTSTRAP="+filepath.Join(r.dir, wire.GRPCBootstrapFile))
	}
	if r.host.hub == nil {
		return append(env, r.proxyEnvironment()...)
	}
	// A proxy of the supervisor's surroundings cannot be reached, and must not
	// see the mesh's traffic.
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		env = append(env, name)
	}
	return env
}

// run is the replica's life. It ends when leave does.
func (r *replica) run() {
	defer close(r.done)
	defer r.release()
	stay, leave := context.WithCancel(r.host.ctx) // of network and proxy: they go last
	defer leave()
	var wg sync.WaitGroup
	defer wg.Wait()
	if err := r.plug(); err != nil {
		r.set(func() { r.state, r.message = "failed", err.Error() })
		r.host.notify(r.event(Failed, "it has no network", err))
		<-r.leave.Done()
		return
	}
	wg.Go(func() { r.proxy.Run(stay) })
	wg.Go(func() { r.serveAdmin(stay) })
	if r.program != nil && r.hold() {
		r.watchFixedPort(&wg)
		r.program.Run(r.leave)
	}
	<-r.leave.Done()
	r.set(func() { r.state = "stopped" })
	leave()
	wg.Wait()
	r.host.notify(r.event(Removed, "", nil))
}

// hold waits for the sidecar: a program's first connection should not fail.
func (r *replica) hold() bool {
	t := time.NewTimer(r.host.o.HoldPrograms)
	defer t.Stop()
	select {
	case <-r.proxyUp:
	case <-t.C:
		r.host.notify(r.event(Problem, "its proxy is not ready after "+r.host.o.HoldPrograms.String()+"; the program is started all the same: `weft logs --proxy "+r.want.Name+"` may tell why", nil))
	case <-r.leave.Done():
		return false
	}
	return true
}

// plug makes the replica's network.
func (r *replica) plug() error {
	if r.host.hub == nil {
		return nil
	}
	c, err := r.captureConfig(nil)
	if err != nil {
		return err
	}
	dir := r.host.o.Dir.Join("net", filepath.Base(r.dir))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	n := hub.Network{
		Name: r.want.key(), Hostname: hostname(r.want.Name), V4: r.addresses[0], Layout: r.host.layout, Capture: c, Dir: dir,
		Search: []string{r.want.Namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"},
	}
	if len(r.addresses) > 1 {
		n.V6 = r.addresses[1]
	}
	if err := r.host.hub.AddNetwork(r.host.ctx, n); err != nil {
		return err
	}
	r.set(func() { r.plugged = true })
	return nil
}

// hostname cuts a name to what the kernel takes.
func hostname(name string) string { return name[:min(len(name), 63)] }

// release gives back what the replica holds.
func (r *replica) release() {
	h := r.host
	h.mu.Lock()
	plugged := r.plugged
	r.plugged = false
	h.mu.Unlock()
	if plugged {
		if err := h.hub.RemoveNetwork(h.ctx, r.want.key()); err != nil && h.ctx.Err() == nil {
			h.o.Log.Warn("network not removed", "workload", r.want.key(), "error", err)
		}
		_ = os.RemoveAll(h.o.Dir.Join("net", filepath.Base(r.dir)))
	}
	if h.hub != nil {
		h.addrs.give(r.want.key())
	}
	for _, p := range r.allotted {
		h.ports.give(p)
	}
	for _, l := range []*process.Log{r.programLog, r.proxyLog} {
		if l != nil {
			_ = l.Close()
		}
	}
	_ = os.RemoveAll(r.dir)
}

// set changes what host.mu guards and has the state written.
func (r *replica) set(f func()) {
	r.host.mu.Lock()
	f()
	r.host.mu.Unlock()
	r.host.touch()
}

func (r *replica) readyLocked() bool {
	return !r.leaving && r.roll == nil && (r.program == nil || r.programReady) && r.proxyReady
}

func (r *replica) replicaLocked() wire.Replica {
	sum := sha256.Sum256([]byte(r.token))
	w := r.want
	out := wire.Replica{
		Name: w.Name, App: w.App, Namespace: w.Namespace, Cluster: r.host.o.ClusterID, Addresses: r.addresses,
		Labels: w.Labels, Annotations: w.Annotations, ServiceAccount: w.ServiceAccount, TrustDomain: r.host.o.TrustDomain,
		Ports: map[string]uint16{}, Inbound: r.inbound, Ready: r.readyLocked(), Mesh: w.Engine != EngineNone,
		Gateway: w.Kind == KindGateway, Engine: w.Engine, TokenHash: hex.EncodeToString(sum[:]), Started: r.started.UnixNano(),
	}
	for _, p := range w.Ports {
		if p.Name != "" {
			out.Ports[p.Name] = p.Port
		}
	}
	return out
}

// equal compares what is cheap to compare deeply.
func equal(a, b []capture.Virtual) bool { return reflect.DeepEqual(a, b) }

var errClosed = errors.New("host: it is closed")
