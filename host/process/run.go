package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/base/backoff"
)

const (
	defaultGrace = 10 * time.Second
	lastLines    = 12
	// steady is how long a program must have run for its failures to be forgotten.
	steady = 30 * time.Second
	// drain is how long to wait for the last lines of a program that has ended:
	// a child of its own may keep its output open.
	drain = 300 * time.Millisecond
)

// Keeper keeps one Program running. All fields but Backoff are required.
type Keeper struct {
	Program Program
	Starter Starter
	Log     *Log
	// Notify is told what happens; it must not block for long.
	Notify func(Event)
	// Force, when closed, cuts every grace short.
	Force <-chan struct{}
	// Backoff between starts; the zero value: 500 ms up to 30 s.
	Backoff backoff.Backoff

	restarts int
	kick     chan struct{}
	once     sync.Once
	wish     chan *wish
	wishOnce sync.Once

	mu      sync.Mutex
	next    *Program              // guarded by mu: what to run instead from the next start on
	old     map[*running]struct{} // guarded by mu: replaced, and not ended yet
	oldWait sync.WaitGroup
}

func (k *Keeper) kicked() chan struct{} {
	k.once.Do(func() { k.kick = make(chan struct{}, 1) })
	return k.kick
}

// Restart ends the running program, if any, and starts it again at once.
func (k *Keeper) Restart() {
	select {
	case k.kicked() <- struct{}{}:
	default:
	}
}

// RestartAs is Restart with another program, that has the same name and log.
func (k *Keeper) RestartAs(p Program) {
	k.mu.Lock()
	k.next = &p
	k.mu.Unlock()
	k.Restart()
}

// renew makes the program of RestartAs the one to run.
func (k *Keeper) renew() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.next != nil {
		k.Program, k.next = *k.next, nil
	}
}

// Run keeps the program running until ctx ends, stops it, and returns when it
// has ended.
func (k *Keeper) Run(ctx context.Context) {
	if k.Backoff == (backoff.Backoff{}) {
		k.Backoff = backoff.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}
	}
	defer k.stopOld()
	for {
		begin, from := time.Now(), k.Log.End()
		ev := k.single(ctx)
		if ctx.Err() != nil {
			k.notify(Event{Kind: Stopped, Exit: ev.Exit})
			return
		}
		if ev.Kind == Stopped { // told to restart
			k.Backoff.Reset()
			k.restarts++
			continue
		}
		if time.Since(begin) >= steady {
			k.Backoff.Reset()
		}
		ev.Again = k.Backoff.Next()
		ev.Lines = k.Log.Since(from, lastLines) // not those of the run before
		k.notify(ev)
		k.restarts++
		t := time.NewTimer(ev.Again)
		select {
		case <-t.C:
		case <-k.kicked():
			t.Stop()
		case <-ctx.Done():
			t.Stop()
			k.notify(Event{Kind: Stopped, Exit: ev.Exit})
			return
		}
	}
}

func (k *Keeper) notify(e Event) {
	e.Time = time.Now()
	e.Restarts = k.restarts
	k.Notify(e)
}

// single runs the program once, to its end.
func (k *Keeper) single(ctx context.Context) Event {
	k.renew()
	k.notify(Event{Kind: Starting})
	argv := k.Program.Command
	if k.Program.Prepare != nil {
		var err error
		if argv, err = k.Program.Prepare(ctx, k.Log); err != nil {
			return Event{Kind: Failed, Err: err}
		}
	}
	r, err := k.launch(ctx, argv, k.Program.Env)
	if err != nil {
		return Event{Kind: Failed, Err: err}
	}
	k.notify(Event{Kind: Started, PID: r.PID()})
	return k.attend(ctx, r)
}

// attend probes the running program until it ends.
func (k *Keeper) attend(ctx context.Context, cur *running) Event {
	defer func() { cur.out.finish() }()
	probing, stop := context.WithCancel(ctx)
	health := make(chan verdict)
	var wg sync.WaitGroup
	wg.Go(func() {
		p := &prober{starter: k.Starter, program: &k.Program}
		p.run(probing, health)
	})
	defer wg.Wait()
	defer stop()
	var next *swap
	for {
		wishes, result := k.wishes(), (chan error)(nil)
		if next != nil {
			wishes, result = nil, next.result
		}
		select {
		case v := <-health:
			kind := Unready
			if v.ready {
				kind = Ready
			}
			k.notify(Event{Kind: kind, PID: cur.PID(), Err: v.err})
			continue
		case w := <-wishes:
			next = k.begin(ctx, w)
			continue
		case err := <-result:
			cur, next = k.finish(next, cur, err), nil
			continue
		case <-cur.Done():
			// It may have handed over, and had nothing left to do.
			if next != nil {
				was := cur
				if cur, next = k.finish(next, cur, <-next.result), nil; cur != was {
					continue
				}
			}
			return Event{Kind: Exited, PID: cur.PID(), Exit: cur.Exit()}
		case <-k.kicked():
		case <-ctx.Done():
		}
		stop()
		if next != nil {
			next.cancel()
			cur = k.finish(next, cur, <-next.result)
		}
		k.stop(cur)
		return Event{Kind: Stopped, PID: cur.PID(), Exit: cur.Exit()}
	}
}

// stop ends the program in good order: SIGTERM, time, SIGKILL.
func (k *Keeper) stop(inst Instance) {
	// What is to be stopped is stopped although ctx has ended.
	ctx, cancel := context.WithTimeout(detached{}, time.Minute)
	defer cancel()
	grace := k.Program.Grace
	if grace <= 0 {
		grace = defaultGrace
	}
	err := inst.Signal(ctx, syscall.SIGTERM, true)
	if err == nil {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-inst.Done():
		case <-k.Force:
		case <-t.C:
			k.Log.Add(fmt.Sprintf("weft: %s did not end within %s of SIGTERM: SIGKILL", k.Program.Name, grace))
		}
	}
	_ = inst.Signal(ctx, syscall.SIGKILL, true)
	<-inst.Done()
}

// detached is a context that never ends, for ending things after the caller's has.
type detached struct{}

func (detached) Deadline() (time.Time, bool) { return time.Time{}, false }
func (detached) Done() <-chan struct{}       { return nil }
func (detached) Err() error                  { return nil }
func (detached) Value(any) any               { return nil }

// outputs are the pipes between a program and its log.
type outputs struct {
	stdout, stderr *os.File
	readers        []*os.File
	done           chan struct{}
	wg             sync.WaitGroup
}

func newOutputs(log *Log) (*outputs, error) {
	r1, w1, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r2, w2, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, r1.Close(), w1.Close())
	}
	o := &outputs{stdout: w1, stderr: w2, readers: []*os.File{r1, r2}, done: make(chan struct{})}
	for _, r := range o.readers {
		o.wg.Go(func() { log.Copy(r) })
	}
	go func() {
		o.wg.Wait()
		close(o.done)
	}()
	return o, nil
}

// started gives up the program's ends.
func (o *outputs) started() {
	o.stdout.Close()
	o.stderr.Close()
}

// finish waits for the last lines.
func (o *outputs) finish() {
	t := time.NewTimer(drain)
	defer t.Stop()
	select {
	case <-o.done:
	case <-t.C:
	}
	for _, r := range o.readers {
		r.Close() // wakes a reader whose writer lives on
	}
	<-o.done
}
