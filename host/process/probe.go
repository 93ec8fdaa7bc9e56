package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// quick is the period until a program is ready for the first time: a mesh
// should be up as soon as its programs are.
const quick = 50 * time.Millisecond

// patience is how long a program may take to be ready before it is said why it
// is not.
const patience = 10 * time.Second

// prober probes one run of a program.
type prober struct {
	starter Starter
	program *Program
}

// verdict is what a prober has found: ready or not, and the error of the last
// probe. Ready with an error: it cannot be told, and is taken for ready.
type verdict struct {
	ready bool
	err   error
}

// run sends a verdict when the program becomes ready, when it ceases to be, and
// when it takes long.
func (p *prober) run(ctx context.Context, health chan<- verdict) {
	tell := func(ready bool, err error) bool {
		select {
		case health <- verdict{ready, err}:
			return true
		case <-ctx.Done():
			return false
		}
	}
	pr := p.program.Probe
	if pr == nil {
		tell(true, nil)
		return
	}
	if !sleep(ctx, pr.InitialDelay) {
		return
	}
	period := orDefault(pr.Period, 10*time.Second)
	var (
		begin    = time.Now()
		ready    bool
		ever     bool
		warned   bool
		good     int
		bad      int
		interval = min(quick, period)
	)
	for {
		err := p.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch {
		case !ready && good >= max(1, pr.Success):
			ready = true
		case ready && bad >= orDefault(pr.Failure, 3):
			ready = false
		case !ever && pr.GiveUp > 0 && time.Since(begin) > pr.GiveUp:
			tell(true, err)
			return // not every port is TCP, and not every program has told the truth
		case !ever && !warned && time.Since(begin) > patience:
			warned = true
			if !tell(false, err) || !sleep(ctx, interval) {
				return
			}
			continue
		default:
			if !sleep(ctx, interval) {
				return
			}
			continue
		}
		if ready {
			ever = true
			interval = period
		}
		if !tell(ready, err) || pr.GiveUp > 0 || !sleep(ctx, interval) {
			return // a probe that may give up only says when the program has begun
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// probe asks once.
func (p *prober) probe(ctx context.Context) error {
	pr := p.program.Probe
	ctx, cancel := context.WithTimeout(ctx, orDefault(pr.Timeout, time.Second))
	defer cancel()
	switch {
	case pr.HTTPPath != "":
		return p.http(ctx, pr)
	case pr.GRPC:
		return p.grpc(ctx, pr)
	case pr.TCP:
		nc, err := p.dial(ctx)
		if err != nil {
			return err
		}
		return nc.Close()
	case len(pr.Exec) > 0:
		return p.exec(ctx, pr.Exec)
	}
	return nil
}

func (p *prober) target() netip.AddrPort {
	return netip.AddrPortFrom(p.program.Address, p.program.Probe.Port)
}

func (p *prober) dial(ctx context.Context) (net.Conn, error) {
	nc, err := p.starter.Dial(ctx, "tcp", p.target())
	if err != nil {
		return nil, fmt.Errorf("port %d: %w", p.program.Probe.Port, err)
	}
	return nc, nil
}

func (p *prober) http(ctx context.Context, pr *Probe) error {
	tr := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
	}
	c := &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.target().String()+"/"+strings.TrimPrefix(pr.HTTPPath, "/"), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kube-probe/weft")
	for k, v := range pr.HTTPHeaders {
		if strings.EqualFold(k, "host") {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	r, err := c.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode < 200 || r.StatusCode >= 400 {
		return errors.New("GET " + pr.HTTPPath + ": status " + strconv.Itoa(r.StatusCode))
	}
	return nil
}

func (p *prober) grpc(ctx context.Context, pr *Probe) error {
	cc, err := grpc.NewClient("passthrough:///"+p.target().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.dial(ctx) }),
		grpc.WithUserAgent("kube-probe/weft"), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer cc.Close()
	r, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{Service: pr.GRPCService})
	if err != nil {
		return err
	}
	if r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("gRPC health of %q: %s", pr.GRPCService, r.GetStatus())
	}
	return nil
}

// exec runs a program beside the one that is probed.
func (p *prober) exec(ctx context.Context, argv []string) error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	inst, err := p.starter.Start(ctx, Command{Argv: argv, Env: p.program.Env, Dir: p.program.Dir, Stdout: null, Stderr: null})
	if err != nil {
		return err
	}
	select {
	case <-inst.Done():
	case <-ctx.Done():
		kill, cancel := context.WithTimeout(detached{}, 10*time.Second)
		defer cancel()
		_ = inst.Signal(kill, syscall.SIGKILL, true)
		<-inst.Done()
		return context.Cause(ctx)
	}
	if e := inst.Exit(); e != (Exit{}) {
		return fmt.Errorf("%s: %s", strings.Join(argv, " "), e)
	}
	return nil
}
