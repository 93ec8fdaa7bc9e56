// Package host runs a mesh's workloads on this machine: for every replica of a
// process its network and its sidecar, for every gateway its proxy, for the
// services that ask for it a port of the host. It touches the operating system
// so that no other part has to.
//
// The caller says what should run (Apply) and is told what happens (Notify). The
// package reads no configuration files and knows no Kubernetes, no routes and
// no xDS; proxies get a bootstrap and find their way from there.
//
// Two placements exist. Redirect: each workload in namespaces of its own, with
// its traffic redirected to its sidecar (see host/hub), as root or as an ordinary
// user. Proxy: plainly on this machine, with HTTP_PROXY and PORT in the
// environment, where namespaces cannot be had.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/weftmesh/weft/host/gobuild"
	"github.com/weftmesh/weft/host/handsocket"
	"github.com/weftmesh/weft/host/hub"
	"github.com/weftmesh/weft/host/netns"
	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/wire"
)

// Capture is how workloads' traffic gets to their sidecars.
type Capture string

// Captures. CaptureAuto takes Redirect where it can be had.
const (
	CaptureAuto     Capture = ""
	CaptureRedirect Capture = "redirect"
	CaptureProxy    Capture = "proxy"
)

// Options of a Host.
type Options struct {
	// Dir is the mesh's run directory; the caller closes it after the Host.
	Dir     *rundir.Dir
	Capture Capture
	// ProxyCommand returns the command line of a proxy, which Host writes the
	// bootstrap for. Required.
	ProxyCommand func(Proxy) Command
	// Amend may change a bootstrap before it is written.
	Amend func(Proxy, *wire.Bootstrap)
	// Notify is told what happens, one event at a time; it must not block for
	// long, and not call back into Host's Apply or Close.
	Notify func(Event)
	Log    *slog.Logger

	// Services are the networks of services' virtual addresses; nil: those of
	// netns.DefaultLayout. OnlyServices captures nothing else of what programs send: the
	// rest goes its way, outside through a relay that knows nothing of it. It needs
	// CaptureRedirect.
	Services     []netip.Prefix
	OnlyServices bool

	// ClusterID, MeshID and TrustDomain go into node metadata and process state.
	ClusterID, MeshID, TrustDomain string
	// Executable is what to run as the hub; "": this program.
	Executable string
	// HoldPrograms bounds how long a program waits for its sidecar to be ready;
	// 0: 20 s.
	HoldPrograms time.Duration
}

// Command is a program with what its environment has on top.
type Command struct{ Argv, Env []string }

// Host runs workloads. Make one with Start, end it with Close.
type Host struct {
	o       Options
	capture Capture
	layout  netns.Layout
	hub     *hub.Hub // nil: capture mode proxy
	info    hub.Info
	builder *gobuild.Builder
	ports   *ports
	addrs   *addresses

	ctx    context.Context // of everything that runs
	cancel context.CancelFunc
	leave  context.Context // of reconcile: ends first
	quit   context.CancelFunc
	loop   sync.WaitGroup
	// applied has one slot: there is a spec to carry out.
	applied chan struct{}
	force   chan struct{} // closed: no more grace
	forced  sync.Once
	wg      sync.WaitGroup
	dirty   chan struct{} // one slot: the state is to be written

	notifyMu sync.Mutex
	stateMu  sync.Mutex // held over a write of the state file

	mu       sync.Mutex
	spec     *Spec
	overtake context.CancelFunc // of the pass that is under way
	replicas map[string]*replica
	unmade   map[string]string // why a replica that is asked for could not be made, by its key
	services []Service
	outside  map[string]*outsidePort
	heard    []handsocket.Listening
	lastID   int
	closed   bool
}

// ErrNoNamespaces is the cause when CaptureRedirect was asked for in vain.
var ErrNoNamespaces = hub.ErrNoNamespaces

// Start prepares the machine: namespaces, or not, and the hand socket. Nothing
// runs before Apply. ctx bounds the start only; Close ends the Host.
func Start(ctx context.Context, o Options) (*Host, error) {
	if o.Dir == nil || o.ProxyCommand == nil || o.Notify == nil || o.Log == nil {
		return nil, errors.New("BUG: host: Options without Dir, ProxyCommand, Notify or Log")
	}
	if o.HoldPrograms <= 0 {
		o.HoldPrograms = 20 * time.Second
	}
	for _, d := range []string{"proxies", "logs", "a", "net"} {
		if err := os.MkdirAll(o.Dir.Join(d), 0o700); err != nil {
			return nil, fmt.Errorf("run directory: %w", err)
		}
	}
	h := &Host{
		o: o, layout: netns.DefaultLayout(), builder: gobuild.New(o.Dir.Join("bin")), ports: newPorts(),
		addrs: newAddresses(), force: make(chan struct{}), dirty: make(chan struct{}, 1),
		applied: make(chan struct{}, 1), overtake: func() {},
		replicas: map[string]*replica{}, unmade: map[string]string{}, outside: map[string]*outsidePort{},
	}
	if o.Services != nil {
		h.layout.Services = o.Services
	}
	if err := h.layout.Check(); err != nil {
		return nil, err
	}
	if err := h.place(ctx); err != nil {
		return nil, err
	}
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	h.leave, h.quit = context.WithCancel(h.ctx)
	if err := h.serve(); err != nil {
		h.Close(ctx)
		return nil, err
	}
	return h, nil
}

// place finds out which capture can be had.
func (h *Host) place(ctx context.Context) error {
	h.capture = h.o.Capture
	if h.capture == CaptureProxy {
		return nil
	}
	hb, err := hub.Start(ctx, hub.Options{
		Executable: h.o.Executable, Layout: h.layout, Log: h.o.Log, Env: []string{h.o.Dir.Mark()},
	})
	if err == nil {
		h.capture, h.hub, h.info = CaptureRedirect, hb, hb.Info()
		for _, n := range h.info.Notes {
			h.notify(Event{Kind: Note, Message: n})
		}
		return nil
	}
	if h.capture == CaptureRedirect || h.o.OnlyServices || !errors.Is(err, hub.ErrNoNamespaces) {
		return err
	}
	h.capture = CaptureProxy
	h.notify(Event{Kind: Note, Message: "capture mode proxy: programs get HTTP_PROXY and PORT instead of a network of their own", Err: err})
	return nil
}

// serve starts what lives as long as the Host.
func (h *Host) serve() error {
	hs := &handsocket.Server{
		Path: h.o.Dir.Join(wire.HandSocketFile), Log: h.o.Log, Listened: h.listened,
	}
	if h.hub != nil {
		hs.Refuse = append([]netip.Prefix{h.layout.V4, h.layout.V6}, h.layout.Services...)
	}
	ln, err := hs.Listen()
	if err != nil {
		return err
	}
	h.wg.Go(func() {
		if err := hs.Serve(h.ctx, ln); err != nil {
			h.notify(Event{Kind: Problem, Message: "proxies cannot reach the host's network any more", Err: err})
		}
	})
	h.wg.Go(h.publish)
	h.loop.Go(h.reconcile)
	if h.hub != nil {
		h.wg.Go(func() {
			select {
			case <-h.hub.Done():
				h.notify(Event{Kind: Lost, Message: "the mesh's namespaces are gone: was process " + fmt.Sprint(h.hub.PID()) + " killed?"})
			case <-h.ctx.Done():
			}
		})
	}
	return nil
}

// Capture tells which capture is in use.
func (h *Host) Capture() Capture { return h.capture }

// IPv6 tells whether workloads have IPv6 addresses.
func (h *Host) IPv6() bool { return h.info.IPv6 }

// Close stops everything in good order: programs, then their sidecars. When ctx
// ends before that, it stops at once. Nothing is left when it returns.
func (h *Host) Close(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { h.forced.Do(func() { close(h.force) }) })
	defer stop()
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.quit()
	h.loop.Wait()
	h.mu.Lock()
	all := make([]*replica, 0, len(h.replicas))
	for _, r := range h.replicas {
		all = append(all, r)
	}
	outside := h.outside
	h.outside = map[string]*outsidePort{}
	h.mu.Unlock()
	for _, p := range outside {
		p.close()
	}
	for _, r := range all {
		r.cancel()
	}
	for _, r := range all {
		<-r.done
	}
	h.cancel()
	h.wg.Wait()
	if h.hub != nil {
		h.hub.Close()
	}
}
