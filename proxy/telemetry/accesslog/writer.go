package accesslog

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// pendingLimit bounds the bytes that wait for the disk.
const pendingLimit = 4 << 20

// Writer appends to a file from its own goroutine (Run). Several loggers may
// share it.
type Writer struct {
	out     io.Writer
	wake    chan struct{}
	dropped atomic.Uint64

	mu      sync.Mutex
	pending []byte
	spare   []byte
}

// NewWriter makes a writer to out, which Run does not close.
func NewWriter(out io.Writer) *Writer {
	return &Writer{out: out, wake: make(chan struct{}, 1)}
}

// Open makes a writer to a file, which is made when it does not exist.
// /dev/stdout and /dev/stderr are this process's own.
func Open(path string) (*Writer, error) {
	switch path {
	case "/dev/stdout":
		return NewWriter(os.Stdout), nil
	case "/dev/stderr":
		return NewWriter(os.Stderr), nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return NewWriter(f), nil
}

// Write takes a line; it never blocks on the disk.
func (w *Writer) Write(line []byte) {
	w.mu.Lock()
	if len(w.pending)+len(line) > pendingLimit {
		w.mu.Unlock()
		w.dropped.Add(1)
		return
	}
	first := len(w.pending) == 0
	w.pending = append(w.pending, line...)
	w.mu.Unlock()
	if first {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Dropped is the number of lines that were lost.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Run writes until ctx ends, and then what is left.
func (w *Writer) Run(ctx context.Context) error {
	for {
		select {
		case <-w.wake:
			w.flush()
		case <-ctx.Done():
			w.flush()
			return nil
		}
	}
}

// flush writes what is pending. What cannot be written is dropped: the disk may
// be full, and the traffic goes on.
func (w *Writer) flush() {
	w.mu.Lock()
	batch := w.pending
	w.pending, w.spare = w.spare[:0], nil
	w.mu.Unlock()
	if len(batch) > 0 {
		if _, err := w.out.Write(batch); err != nil {
			w.dropped.Add(1)
		}
	}
	w.mu.Lock()
	if cap(batch) <= pendingLimit/4 {
		w.spare = batch[:0]
	}
	w.mu.Unlock()
}
