package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// load is a run: its settings, and its streams.
type load struct {
	shape *shape
	nodes *nodeOpts

	addr, proto, dir, mcp, change, out, label string
	n, pid, rounds, window, seq, use          int
	settle, warm, timeout                     time.Duration
	ramp, quiet, rate                         float64
	soak                                      time.Duration
	again                                     bool // reconnect

	streams []*stream
	count   counters
	probe   atomic.Pointer[probe]
	failed  chan error
	peak    rssWatch
	result  result
}

func loadFlags(fs *flag.FlagSet) *load {
	l := &load{shape: shapeFlags(fs), nodes: nodeFlags(fs)}
	fs.StringVar(&l.addr, "addr", "127.0.0.1:15010", "xDS server (without TLS)")
	fs.IntVar(&l.n, "n", 50, "streams")
	fs.StringVar(&l.proto, "proto", "sotw", "sotw or delta")
	fs.StringVar(&l.dir, "dir", "", "configuration directory, written by adsload gen with the same -s -e")
	fs.StringVar(&l.mcp, "mcp", "", "control address of adsload mcp (host:port): changes go there, not to files")
	fs.IntVar(&l.pid, "pid", 0, "control plane process to sample")
	fs.IntVar(&l.rounds, "rounds", 10, "changes to make")
	fs.StringVar(&l.change, "change", "eds", "what a round changes: eds (one endpoint) or route (one VirtualService)")
	fs.DurationVar(&l.settle, "settle", 2*time.Second, "wait after the last stream has a change, before reading CPU")
	fs.DurationVar(&l.warm, "warm", 5*time.Second, "quiet time after the first push (idle CPU is read over it)")
	fs.DurationVar(&l.timeout, "timeout", 120*time.Second, "longest wait for the first push, and for a round")
	fs.Float64Var(&l.ramp, "ramp", 0, "streams opened per second (0: all at once)")
	fs.IntVar(&l.window, "window", 4<<20, "gRPC receive window, bytes")
	fs.Float64Var(&l.quiet, "quiet", 0.5, "a round is quiet when other processes use fewer cores than this")
	fs.StringVar(&l.out, "out", "", "append the result to this file as one line of JSON")
	fs.StringVar(&l.label, "label", "", "name of the run in the result")
	fs.IntVar(&l.use, "use", 0, "services that each proxy asks for, on demand; 0: proxies are not on demand")
	fs.BoolVar(&l.again, "reconnect", false, "end all streams after the rounds, and let them come back at once with what they hold (delta)")
	fs.DurationVar(&l.soak, "soak", 0, "change endpoints for so long, -rate times a second, and check at the end what each stream has (delta)")
	fs.Float64Var(&l.rate, "rate", 100, "changes per second of -soak")
	fs.IntVar(&l.seq, "seq", 0, "first marker number (give another one to repeat against the same control plane)")
	return l
}

func runMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	l := loadFlags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if l.proto != "delta" && l.proto != "sotw" {
		return errors.New("-proto is sotw or delta")
	}
	if l.rounds > 0 && l.dir == "" && l.mcp == "" {
		return errors.New("-dir or -mcp is needed to make changes")
	}
	if (l.use > 0 || l.again || l.soak > 0) && l.proto != "delta" {
		return errors.New("-use, -reconnect and -soak need -proto delta")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go l.peak.run(ctx, l.pid)
	l.failed = make(chan error, l.n)
	l.result = result{
		Label: l.label, Addr: l.addr, Proto: l.proto, Change: l.change, Source: "file", S: l.shape.S, E: l.shape.E, N: l.n, Use: l.use, Rounds: l.rounds, Types: types[:],
	}
	if l.mcp != "" {
		l.result.Source = "mcp"
	}
	if err := l.firstPush(ctx); err != nil {
		return err
	}
	for i := range l.rounds {
		rr, err := l.round(i)
		if err != nil {
			return err
		}
		l.result.add(rr, i)
	}
	if l.again {
		if err := l.reconnect(ctx); err != nil {
			return err
		}
	}
	if l.soak > 0 {
		if err := l.storm(ctx); err != nil {
			return err
		}
	}
	end, err := readProc(l.pid)
	if err != nil {
		return err
	}
	l.result.EndRSS, l.result.HWM = end.RSS, end.HWM
	l.result.sumUp(l.quiet)
	return l.result.appendTo(l.out)
}

// usage is what the server and this process have used.
type usage struct{ server, client procSample }

func (l *load) usage() (u usage) {
	// A process that has ended shows as one that uses nothing; streams report it.
	u.server, _ = readProc(l.pid)
	u.client, _ = readProc(os.Getpid())
	return u
}

// firstPush opens the streams and waits until each has everything.
func (l *load) firstPush(ctx context.Context) error {
	if _, err := readProc(l.pid); err != nil {
		return err
	}
	before := l.usage()
	var ready sync.WaitGroup
	begin := time.Now()
	for i := range l.n {
		node, err := l.nodes.node(i)
		if err != nil {
			return err
		}
		s := newStream(i, node, l.proto == "delta", &l.count, &l.probe)
		for _, svc := range l.uses(i) {
			s.use = append(s.use, virtualHost(svc))
		}
		if l.again {
			s.held = map[string]map[string]string{}
		}
		l.streams = append(l.streams, s)
		ready.Go(func() { <-s.ready })
		go l.keep(ctx, s)
	}
	if err := l.wait(&ready); err != nil {
		done := 0
		for _, s := range l.streams {
			select {
			case <-s.ready:
				done++
			default:
			}
		}
		return fmt.Errorf("first push: %w (%d of %d streams complete; got %+v)", err, done, l.n, l.count.snap())
	}
	r := &l.result
	r.FirstPushWall = ms(time.Since(begin))
	time.Sleep(l.settle)
	after := l.usage()
	r.First, r.Reconnects = l.count.snap(), l.count.errs.Load()
	r.FirstCPU, r.FirstClientCPU = after.server.CPU-before.server.CPU, after.client.CPU-before.client.CPU
	r.IdleRSS, r.WarmRSS, r.WarmPeakRSS = before.server.RSS, after.server.RSS, l.peak.reset()
	var each []time.Duration
	for _, s := range l.streams {
		each = append(each, s.readyAt)
	}
	r.FirstPush = distOf(each)
	fmt.Printf("first push: %d streams in %.0f ms (%d refused and retried); per stream %v\n", l.n, r.FirstPushWall, r.Reconnects, r.FirstPush)
	fmt.Printf("  server CPU %.2f s, client CPU %.2f s, RSS before %.0f after %.0f peak %.0f MiB\n", r.FirstCPU, r.FirstClientCPU, r.IdleRSS, r.WarmRSS, r.WarmPeakRSS)
	printSnap("  received", r.First, l.n)
	if l.warm <= 0 {
		return nil
	}
	time.Sleep(l.warm)
	idle := l.usage()
	r.IdleCPUPerSec = (idle.server.CPU - after.server.CPU) / l.warm.Seconds()
	fmt.Printf("idle: %.3f CPU s/s, RSS %.0f MiB\n", r.IdleCPUPerSec, idle.server.RSS)
	return nil
}

// keep runs a stream. A control plane may refuse streams that come too fast: they
// try again, as Envoy does.
func (l *load) keep(ctx context.Context, s *stream) {
	if l.ramp > 0 {
		time.Sleep(time.Duration(float64(s.id) / l.ramp * float64(time.Second)))
	}
	for try := 0; ; try++ {
		err := s.open(ctx, l.addr, l.window)
		if err == nil {
			err = s.run()
		}
		if ctx.Err() != nil || s.away {
			return
		}
		l.count.errs.Add(1)
		if c := status.Code(err); s.isReady || try > 30 || (c != codes.ResourceExhausted && c != codes.Unavailable) {
			l.failed <- fmt.Errorf("stream %d: %w", s.id, err)
			return
		}
		s.reset()
		time.Sleep(time.Duration((0.5 + rand.Float64()) * float64(min(500<<min(try, 4), 5000)) * float64(time.Millisecond)))
	}
}

var errTimeout = errors.New("timed out")

// wait waits for wg, a stream that fails, or the timeout.
func (l *load) wait(wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	t := time.NewTimer(l.timeout)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case err := <-l.failed:
		return err
	case <-t.C:
		return errTimeout
	}
}

// round changes service i*7 mod S, or of those that are used, and waits until every
// stream that uses it has it.
func (l *load) round(i int) (*roundResult, error) {
	seq, svc := l.seq+i, i*7%l.shape.S
	if l.use > 0 {
		svc = l.used(i * 7)
	}
	users := l.users(svc)
	addr := fmt.Sprintf("198.18.%d.%d", 100+seq/100%100, 100+seq%100)
	mark := fmt.Sprintf("/mark-%06d/", seq)
	p := &probe{typeURL: typeEDS, marker: []byte(addr), wg: &sync.WaitGroup{}}
	text := l.shape.fileText(svc, addr, "")
	if l.change == "route" {
		p.typeURL, p.marker = typeRDS, []byte(mark)
		if l.use > 0 {
			p.typeURL = typeVHDS
		}
		text = l.shape.fileText(svc, "", mark)
	}
	p.wg.Add(len(users))
	got, before, busy := l.count.snap(), l.usage(), machineBusy()
	p.start = time.Now()
	l.probe.Store(p)
	if err := l.write(svc, text); err != nil {
		return nil, err
	}
	if err := l.wait(p.wg); err != nil && !errors.Is(err, errTimeout) {
		return nil, err
	}
	wall, there := time.Since(p.start).Seconds(), l.usage()
	other := machineBusy() - busy - (there.server.CPU - before.server.CPU) - (there.client.CPU - before.client.CPU)
	time.Sleep(l.settle)
	after := l.usage()
	rr := &roundResult{
		Service: svc, CPU: after.server.CPU - before.server.CPU, ClientCPU: after.client.CPU - before.client.CPU,
		Got: l.count.snap().sub(got), RSS: after.server.RSS, PeakRSS: l.peak.reset(), Other: max(0, other) / wall,
	}
	for _, s := range users {
		s.hitMu.Lock()
		if s.hit == p {
			rr.lats = append(rr.lats, s.hitAt)
		} else {
			rr.Missed++
		}
		s.hitMu.Unlock()
	}
	rr.Lat = distOf(rr.lats)
	return rr, nil
}

// write makes a change where the control plane reads it.
func (l *load) write(svc int, text string) error {
	if l.mcp == "" {
		return replaceFile(l.shape.fileOf(l.dir, svc), text)
	}
	resp, err := http.Post("http://"+l.mcp+"/update", "application/yaml", bytes.NewBufferString(text))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("mcp control: %s", resp.Status)
	}
	return nil
}
