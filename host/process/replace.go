package process

import (
	"context"
	"fmt"
)

// Replacement is a process that takes over from the one that runs.
type Replacement struct {
	Command, Env []string
	// Taken returns when the new process has taken over, or cannot. ctx ends when
	// it has died.
	Taken func(ctx context.Context) error
}

// Replace starts a second process and, once it has taken over, keeps that one
// running instead of the first, which ends by itself when it has nothing left to
// do. When the new one cannot take over it is ended, and nothing has changed.
func (k *Keeper) Replace(ctx context.Context, r Replacement) error {
	w := &wish{Replacement: r, ctx: ctx, done: make(chan error, 1)}
	select {
	case k.wishes() <- w:
	case <-ctx.Done():
		return fmt.Errorf("it does not run at this moment: %w", context.Cause(ctx))
	}
	return <-w.done
}

// wish is a Replacement that somebody waits for.
type wish struct {
	Replacement
	ctx  context.Context //nolint:containedctx // of the caller of Replace
	done chan error
}

func (k *Keeper) wishes() chan *wish {
	k.wishOnce.Do(func() { k.wish = make(chan *wish) })
	return k.wish
}

// running is a process and the pipes of what it says.
type running struct {
	Instance
	out *outputs
}

// launch starts a process.
func (k *Keeper) launch(ctx context.Context, argv, env []string) (*running, error) {
	out, err := newOutputs(k.Log)
	if err != nil {
		return nil, err
	}
	inst, err := k.Starter.Start(ctx, Command{
		Argv: argv, Env: env, Dir: k.Program.Dir, Sidecar: k.Program.Sidecar, Stdout: out.stdout, Stderr: out.stderr,
	})
	out.started()
	if err != nil {
		out.finish()
		return nil, err
	}
	return &running{inst, out}, nil
}

// swap is a Replacement under way.
type swap struct {
	*wish
	fresh  *running
	cancel context.CancelFunc
	result chan error // one
}

// begin starts the new process; nil: it could not.
func (k *Keeper) begin(ctx context.Context, w *wish) *swap {
	fresh, err := k.launch(ctx, w.Command, w.Env)
	if err != nil {
		w.done <- err
		return nil
	}
	s := &swap{wish: w, fresh: fresh, result: make(chan error, 1)}
	var alive context.Context
	alive, s.cancel = context.WithCancel(w.ctx)
	go func() {
		stop := make(chan struct{})
		go func() {
			select {
			case <-fresh.Done():
				s.cancel()
			case <-stop:
			}
		}()
		err := w.Taken(alive)
		close(stop)
		select {
		case <-fresh.Done():
			err = fmt.Errorf("the new process ended: %s", fresh.Exit())
		default:
		}
		if err != nil {
			k.stop(fresh)
			fresh.out.finish()
		}
		s.result <- err
	}()
	return s
}

// finish makes the new process the one to attend, if it has taken over.
func (k *Keeper) finish(s *swap, old *running, err error) *running {
	s.cancel()
	if err == nil {
		k.Program.Command, k.Program.Prepare, k.Program.Env = s.Command, nil, s.Env
		k.outlive(old)
		old = s.fresh
		k.notify(Event{Kind: Replaced, PID: old.PID()})
	}
	s.done <- err
	return old
}

// outlive lets a process end by itself.
func (k *Keeper) outlive(old *running) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.old == nil {
		k.old = map[*running]struct{}{}
	}
	k.old[old] = struct{}{}
	k.oldWait.Go(func() {
		<-old.Done()
		old.out.finish()
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.old, old)
	})
}

// stopOld ends what has been replaced.
func (k *Keeper) stopOld() {
	k.mu.Lock()
	for old := range k.old {
		k.oldWait.Go(func() { k.stop(old) })
	}
	k.mu.Unlock()
	k.oldWait.Wait()
}
