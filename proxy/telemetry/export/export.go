// Package export sends what telemetry makes to collectors: in batches, from a
// goroutine of its own. Add never blocks; when the collector does not keep up,
// items are dropped and counted, and the traffic is not.
//
// It knows nothing of what it sends.
package export

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// queueSize bounds the items that wait.
const queueSize = 2048

// maxBatch bounds the items of a batch.
const maxBatch = 512

// lastBound is how long the last batch may take when the proxy ends.
const lastBound = time.Second

// Batch collects items. Set the fields, then Run it once.
type Batch[T any] struct {
	// Every is the time after which what there is is sent, Bytes the size;
	// Size measures an item, nil: sizes do not matter.
	Every time.Duration
	Bytes int
	Size  func(T) int
	// Send is called from Run; it must not keep the slice.
	Send func(ctx context.Context, items []T) error
	Log  *slog.Logger

	queue   chan T
	dropped atomic.Uint64
}

// New makes a Batch ready for Add.
func New[T any](b *Batch[T]) *Batch[T] {
	b.queue = make(chan T, queueSize)
	return b
}

// Add queues an item.
func (b *Batch[T]) Add(item T) {
	select {
	case b.queue <- item:
	default:
		b.dropped.Add(1)
	}
}

// Dropped is the number of items that were lost.
func (b *Batch[T]) Dropped() uint64 { return b.dropped.Load() }

// Run sends until ctx ends, and then, briefly, what is left.
func (b *Batch[T]) Run(ctx context.Context) error {
	tick := time.NewTicker(b.Every)
	defer tick.Stop()
	var items []T
	size := 0
	for {
		select {
		case item := <-b.queue:
			items = append(items, item)
			if b.Size != nil {
				size += b.Size(item)
			}
			if len(items) < maxBatch && (b.Size == nil || size < b.Bytes) {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			for more := true; more; {
				select {
				case item := <-b.queue:
					items = append(items, item)
				default:
					more = false
				}
			}
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastBound)
			defer cancel()
			b.send(last, items)
			return nil
		}
		b.send(ctx, items)
		clear(items)
		items, size = items[:0], 0
	}
}

func (b *Batch[T]) send(ctx context.Context, items []T) {
	if len(items) == 0 {
		return
	}
	if err := b.Send(ctx, items); err != nil {
		b.dropped.Add(uint64(len(items)))
		b.Log.Debug("not exported", "items", len(items), "error", err)
	}
}
