package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/wire"
)

// Bounds of starting and ending.
const (
	readyPeriod = 50 * time.Millisecond
	sayPeriod   = 5 * time.Second
	// stopBound is how long the proxy may drain, and the service may take to end.
	stopBound = 15 * time.Second
)

// Running is how a member runs.
type Running struct {
	// Dir is where the membership is kept.
	Dir string
	// Proxy is the command line that runs the Go proxy in the place of Istio's.
	Proxy []string
	// User is the proxy's, by whom its own traffic is told apart; 0: who runs this.
	User int
	// Capture is what is led to the proxy; nil: nothing.
	Capture *capture.Pod
	// Service is a command to be run once the proxy is ready; nil: the service is there already.
	Service []string
	// Labels are the workload's, beside those of its group.
	Labels map[string]string
	Log    *slog.Logger
}

// Run has the machine take part in the mesh until ctx ends, or its service does, whose error
// is returned then.
func Run(ctx context.Context, o Running) (err error) {
	s, err := Load(o.Dir)
	if err != nil {
		return err
	}
	if _, err := Holds(o.Dir, time.Now()); err != nil {
		return err
	}
	unlock, err := lock(o.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	m := &member{Running: o, state: s, env: environment(s, &o)}
	proxies, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.keepProxy(proxies)
	}()
	m.end = func() {
		stop()
		<-ended
	}
	defer func() { // the proxy drains, and is led to until it has
		m.end()
		if o.Capture != nil {
			err = errors.Join(err, capture.Remove())
		}
	}()
	if err := m.ready(ctx); err != nil {
		return nil //nolint:nilerr // told to end
	}
	if o.Capture != nil {
		if err := capture.InstallPod(*o.Capture); err != nil {
			return err
		}
	}
	o.Log.Info("joined", "mesh", s.Address, "workload", s.Invitation.Namespace+"/"+s.Name, "group", s.Invitation.Group, "address", s.IP)
	if o.Service == nil {
		<-ctx.Done()
		o.Log.Info("leaving")
		return nil
	}
	return m.serve(ctx)
}

// member is a running one.
type member struct {
	Running
	state *State
	env   []string
	// end has the proxy drain, and waits for it.
	end func()
}

// keepProxy runs the proxy, again and again, until ctx ends.
func (m *member) keepProxy(ctx context.Context) {
	b := backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		began := time.Now()
		err := m.runProxy(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			b.Reset()
		}
		m.Log.Warn("the proxy has ended, and is started again", "error", err)
		if b.Wait(ctx) != nil {
			return
		}
	}
}

func (m *member) runProxy(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, m.Proxy[0], m.Proxy[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.Dir, m.env, os.Stderr, os.Stderr
	cmd.SysProcAttr = attributes(m.User)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopBound
	return cmd.Run()
}

// attributes are of a child that ends with this process, and is no part of its terminal's
// group: Ctrl-C is for this one, which ends it in its turn.
func attributes(user int) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if user != 0 {
		a.Credential = &syscall.Credential{Uid: uint32(user), Gid: uint32(user)} //nolint:gosec // a user id
	}
	return a
}

// ready waits until the proxy is.
func (m *member) ready(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second}
	tick, say := time.NewTicker(readyPeriod), time.NewTicker(sayPeriod)
	defer tick.Stop()
	defer say.Stop()
	url := "http://127.0.0.1:" + strconv.Itoa(int(wire.PortHealth)) + "/healthz/ready"
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-say.C:
			m.Log.Info("waiting for the mesh's configuration", "from", m.state.Address)
			continue
		case <-tick.C:
		}
		r, err := client.Get(url) //nolint:noctx // it has a timeout
		if err != nil {
			continue
		}
		_ = r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// serve runs the service until it ends; when ctx does, the proxy tells others first, and drains.
func (m *member) serve(ctx context.Context) error {
	cmd := exec.Command(m.Service[0], m.Service[1:]...) //nolint:noctx // it is ended in its turn
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attributes(0)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("the service: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	m.Log.Info("leaving")
	m.end()
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	bound := time.NewTimer(stopBound)
	defer bound.Stop()
	select {
	case <-ended:
	case <-bound.C:
		m.Log.Warn("the service does not end, and is killed")
		_ = cmd.Process.Kill()
		<-ended
	}
	return nil
}

// environment is what the proxy is told, as pilot-agent is.
func environment(s *State, o *Running) []string {
	config := map[string]any{"discoveryAddress": s.Address}
	if len(s.Invitation.Probe) > 0 {
		config["readinessProbe"] = s.Invitation.Probe
	}
	raw, _ := json.Marshal(config) // strings, and JSON that was read
	certs := filepath.Join(o.Dir, certsDir)
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + o.Dir, "PROXY_CONFIG=" + string(raw), "PROV_CERT=" + certs, "OUTPUT_CERTS=" + certs,
		"ISTIOD_SAN=" + s.ServerName, "TRUST_DOMAIN=" + s.Invitation.TrustDomain, "POD_NAME=" + s.Name, "POD_NAMESPACE=" + s.Invitation.Namespace,
		"SERVICE_ACCOUNT=" + s.Invitation.ServiceAccount, "INSTANCE_IP=" + s.IP,
		"ISTIO_META_WEFT_ENGINE=go", "ISTIO_META_DNS_CAPTURE=true", "ISTIO_META_CLUSTER_ID=Kubernetes",
	}
	for k, v := range map[string]string{"AUTO_REGISTER_GROUP": s.Invitation.Group, "NETWORK": s.Invitation.Network} {
		if v != "" {
			env = append(env, "ISTIO_META_"+k+"="+v)
		}
	}
	if len(o.Labels) > 0 {
		labels, _ := json.Marshal(o.Labels) // strings
		env = append(env, "ISTIO_METAJSON_LABELS="+string(labels))
	}
	for _, k := range []string{"GOMEMLIMIT", "GOMAXPROCS"} {
		if v := os.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return env
}

// lock sees to it that a machine is a member once.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, pidFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("this machine takes part already (%s is locked): end that one first, or leave with `weft leave`", f.Name())
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// Leave ends the run of a membership that is under way, and forgets it; ErrNoMember: there is
// none.
func Leave(ctx context.Context, dir string) error {
	if _, err := Load(dir); err != nil {
		return err
	}
	if err := end(ctx, dir); err != nil {
		return err
	}
	return errors.Join(capture.Remove(), Forget(dir))
}

// end ends a run, if there is one.
func end(ctx context.Context, dir string) error {
	tick := time.NewTicker(readyPeriod)
	defer tick.Stop()
	for told := false; ; {
		unlock, err := lock(dir)
		if err == nil {
			unlock()
			return nil
		}
		if !told {
			raw, err := os.ReadFile(filepath.Join(dir, pidFile))
			if err != nil {
				return err
			}
			pid, err := strconv.Atoi(string(raw[:max(0, len(raw)-1)]))
			if err != nil {
				return fmt.Errorf("%s: %w", filepath.Join(dir, pidFile), err)
			}
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				return fmt.Errorf("ending what runs (process %d): %w", pid, err)
			}
			told = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("what runs has not ended yet: %w", ctx.Err())
		}
	}
}
