package host

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// dialBound is how long a relay tries to reach what it leads to.
const dialBound = 10 * time.Second

// relay joins every connection that ln accepts to one that dial makes, until
// ctx ends. It returns when all of them are closed.
func relay(ctx context.Context, ln net.Listener, dial func(context.Context) (net.Conn, error)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	defer ln.Close()
	for {
		a, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		wg.Go(func() {
			defer a.Close()
			dctx, dcancel := context.WithTimeout(ctx, dialBound)
			b, err := dial(dctx)
			dcancel()
			if err != nil {
				return // the client sees its connection closed
			}
			defer b.Close()
			join(ctx, a, b)
		})
	}
}

// join copies both ways, each direction with its own end, until both have
// ended, one breaks, or ctx ends. Between TCP sockets the kernel copies.
func join(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() {
		a.Close()
		b.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	one := func(dst, src net.Conn) {
		if _, err := io.Copy(dst, src); err != nil {
			a.Close()
			b.Close()
			return
		}
		if c, ok := dst.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
	}
	wg.Go(func() { one(a, b) })
	one(b, a)
	wg.Wait()
}
