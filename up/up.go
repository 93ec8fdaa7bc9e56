// Package up is `weft up`: a whole mesh on this machine until it is told to end.
//
// It keeps a control plane running as a process of its own, follows over the
// control plane's console what should run, has host run it, and tells a person
// what happens. It reads no configuration itself and knows no xDS; when the
// control plane is gone, what runs goes on.
package up

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/wire"
)

// Options of a mesh.
type Options struct {
	// Folder holds the YAML. Name is the mesh's; "": the folder's.
	Folder, Name string
	// Engine is that of proxies whose object names none; Envoy the path of the
	// binary.
	Engine, Envoy string
	Capture       host.Capture
	// CaptureRange is wire.CaptureAll or wire.CaptureVIP; VIPRange where services' own
	// addresses are.
	CaptureRange string
	VIPRange     wire.VIPRange
	// ConfigMode is for weft control; empty: its default.
	ConfigMode string
	// IdleAfter is for weft control too; 0: its default.
	IdleAfter time.Duration
	// CertTTL shortens the workload certificates' lifetime; 0: the mesh's.
	CertTTL time.Duration
	// LogLevel of proxies and control plane.
	LogLevel string
	// Executable is this program.
	Executable string
	// Out is where people read; Colour whether escape sequences are welcome.
	Out     io.Writer
	Colour  bool
	Version string
	Root    rundir.Root
	// Log is for faults of Weft itself.
	Log *slog.Logger
}

// closeBound is how long an orderly end may take.
const closeBound = 15 * time.Second

// mesh is a running mesh.
type mesh struct {
	Options
	dir      *rundir.Dir
	report   *report
	host     *host.Host
	control  *process.Keeper
	ctlLog   *process.Log
	started  time.Time
	applied  atomic.Bool // the host knows what is to run
	down     context.CancelFunc
	mu       sync.Mutex
	urls     []wire.URL
	schemes  map[uint16]string // of gateway ports
	ctlState wire.Instance
	upgraded string     // guarded by mu: what proxies run since all were upgraded; "": Executable
	upgrade  sync.Mutex // one at a time
}

// Run runs a mesh until ctx ends or somebody asks it to (`weft down`).
func Run(ctx context.Context, o Options) (err error) {
	if o.Folder, err = filepath.Abs(o.Folder); err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	if info, err := os.Stat(o.Folder); err != nil {
		return fmt.Errorf("%w (check the path)", err)
	} else if !info.IsDir() && o.Name == "" {
		o.Name = strings.TrimSuffix(filepath.Base(o.Folder), filepath.Ext(o.Folder))
	}
	if o.Name == "" {
		o.Name = filepath.Base(o.Folder)
	}
	dir, err := o.Root.Open(o.Name)
	if errors.Is(err, rundir.ErrRunning) {
		return fmt.Errorf("mesh %s is running already: end it with `weft down --mesh %s`, or give this one another --name", o.Name, o.Name)
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := &mesh{Options: o, dir: dir, report: newReport(o.Out, o.Colour), started: time.Now(), down: cancel}
	defer func() {
		if err = errors.Join(err, dir.Close()); err == nil {
			m.report.say(strong, "ended, and nothing is left behind")
		}
	}()
	for _, r := range dir.Removed {
		m.report.say(faint, "removed what an earlier mesh had left: %s", r)
	}
	return m.run(ctx)
}

func (m *mesh) run(ctx context.Context) (err error) {
	m.report.say(strong, "weft %s: mesh %s from %s", m.Version, m.Name, m.Folder)
	m.host, err = host.Start(ctx, host.Options{
		Dir: m.dir, Capture: m.Capture, ProxyCommand: m.proxyCommand, Notify: m.hostEvent, Log: m.Log,
		ClusterID: "Kubernetes", MeshID: m.Name, Executable: m.Executable,
		Services: m.VIPRange.Prefixes(), OnlyServices: m.CaptureRange == wire.CaptureVIP,
	})
	if err != nil {
		return err
	}
	shut := func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeBound)
		defer cancel()
		m.host.Close(end)
	}
	if m.ctlLog, err = process.NewLog(m.dir.Join("logs", "control.log"), 0); err != nil {
		shut()
		return err
	}
	m.control = m.controlKeeper()

	// The control plane ends last, so that proxies can drain with it still there.
	control, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	var last sync.WaitGroup
	last.Go(func() { m.control.Run(control) })
	defer func() {
		shut()
		stopControl()
		last.Wait()
		_ = m.ctlLog.Close()
	}()

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.serveAPI(ctx) })
	g.Go(func() error { return m.followLocal(ctx) })
	g.Go(func() error { return m.followEvents(ctx) })
	g.Go(func() error { return m.showWhenReady(ctx) })
	g.Go(func() error { return m.reportUsage(ctx) })
	err = g.Wait()
	m.report.phase.Store(ending)
	m.report.say(strong, "ending …")
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// controlKeeper keeps `weft control` running.
func (m *mesh) controlKeeper() *process.Keeper {
	argv := []string{
		m.Executable, "control", "--config", m.Folder,
		"--overlay", m.dir.Join(wire.OverlayDir),
		"--process-state", m.dir.Join(wire.ProcessStateFile),
		"--xds-socket", m.dir.Join(wire.XDSSocketFile),
		"--console-socket", m.dir.Join(wire.ConsoleSocket),
		"--state-dir", m.dir.Join(wire.ControlStateDir),
		"--log-level", m.LogLevel,
	}
	if m.CertTTL > 0 {
		argv = append(argv, "--cert-ttl", m.CertTTL.String())
	}
	if m.ConfigMode != "" {
		argv = append(argv, "--config-mode", m.ConfigMode)
	}
	if m.IdleAfter > 0 {
		argv = append(argv, "--idle-after", m.IdleAfter.String())
	}
	if m.CaptureRange != "" {
		argv = append(argv, "--capture-range", m.CaptureRange)
	}
	if r := m.VIPRange.String(); r != "" {
		argv = append(argv, "--vip-range", r)
	}
	if !m.host.IPv6() {
		argv = append(argv, "--ipv4-only")
	}
	return &process.Keeper{
		Program: process.Program{Name: "control", Command: argv, Env: []string{m.dir.Mark()}, Dir: m.dir.Path, Sidecar: true},
		Starter: process.Local{}, Log: m.ctlLog, Notify: m.controlEvent,
		// Like a proxy: the mesh takes no change while it is away.
		Backoff: backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second},
	}
}

// proxyCommand is the command line of one proxy.
func (m *mesh) proxyCommand(p host.Proxy) host.Command {
	return ProxyCommand(p, m.executable(), m.Envoy, m.LogLevel)
}

// ProxyCommand is the command line of one proxy: of p's executable, or of program, a
// binary of Weft's, where it has none. envoy is the path of that binary.
func ProxyCommand(p host.Proxy, program, envoy, level string) host.Command {
	argv := []string{cmp.Or(p.Executable, program), "proxy", "--engine", p.Engine, "--log-level", level}
	add := func(flag, value string) {
		if value != "" {
			argv = append(argv, flag, value)
		}
	}
	if p.Engine == host.EngineEnvoy {
		add("--envoy", envoy)
		add("--sds-socket", p.SDSSocket)
		add("--als-socket", p.ALSSocket)
	}
	if p.Engine != host.EngineNone {
		add("-c", p.Bootstrap)
	} else {
		add("--node", "sidecar~"+p.Addresses[0].String()+"~"+p.Name+"."+p.Namespace+"~"+p.Namespace+".svc.cluster.local")
	}
	add("--grpc", p.GRPC)
	add("--xds-socket", p.XDSSocket)
	add("--hand-socket", p.HandSocket)
	var inside []string
	for _, n := range p.Mesh {
		inside = append(inside, n.String())
	}
	add("--socket-path", p.HandoverSocket)
	add("--inside", strings.Join(inside, ","))
	if p.Capture == host.CaptureProxy {
		argv = append(argv, "--no-dns")
	}
	if p.Kind == host.KindGateway && p.Engine == host.EngineGo {
		argv = append(argv, "--host-listeners")
	}
	ports := p.Ports
	if p.Engine == host.EngineGo && !p.Relays {
		ports.Relay = 0 // its own way out is the hand socket
	}
	flags := map[string]uint16{
		"--port-merged": ports.Merged, "--port-health": ports.Health, "--port-prometheus": ports.Prometheus,
		"--port-dns": ports.DNS, "--port-relay": ports.Relay,
	}
	if p.Engine == host.EngineNone {
		flags["--port-admin"] = ports.Admin
	}
	for flag, n := range flags {
		// An agent that serves nothing on a port has to be told so: all share this
		// machine's ports in capture mode proxy.
		if n != 0 || p.Engine == host.EngineNone {
			add(flag, fmt.Sprint(n))
		}
	}
	if n := p.Settings.Concurrency; n > 0 && p.Engine != host.EngineNone {
		add("--concurrency", fmt.Sprint(n))
	}
	if d := p.Settings.Drain; d > 0 && p.Engine != host.EngineNone {
		add("--drain-time", d.String())
	}
	var env []string
	for _, k := range slices.Sorted(maps.Keys(p.Settings.Env)) {
		env = append(env, k+"="+p.Settings.Env[k])
	}
	return host.Command{Argv: argv, Env: append(env, "WEFT_TOKEN="+p.Token)}
}
