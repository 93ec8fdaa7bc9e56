package transport

import (
	"sync"
	"sync/atomic"
)

// buffer is a pooled byte slice. Whoever holds it gives it back with free,
// once.
type buffer struct{ b []byte }

// Sizes of pooled buffers. A larger one is left to the garbage collector.
const (
	size4K   = 4 << 10
	size16K  = 16 << 10
	size20K  = 20 << 10 // a full TLS record, and what bytes.Buffer wants to have free
	size64K  = 64 << 10
	size128K = 128 << 10
	size256K = 256 << 10
)

// The pools are shared by all connections of the process: that is their use.
var pool4K, pool16K, pool20K, pool64K, pool128K, pool256K sync.Pool

func poolOf(n int) (*sync.Pool, int) {
	switch {
	case n <= size4K:
		return &pool4K, size4K
	case n <= size16K:
		return &pool16K, size16K
	case n <= size20K:
		return &pool20K, size20K
	case n <= size64K:
		return &pool64K, size64K
	case n <= size128K:
		return &pool128K, size128K
	case n <= size256K:
		return &pool256K, size256K
	}
	return nil, n
}

// large is the bytes of the large buffers that are in use.
var large atomic.Int64

// LargeBuffers is how many bytes of large buffers connections hold: bulk on its way, and
// what waits for slow readers.
func LargeBuffers() int64 { return large.Load() }

// getBuffer returns an empty buffer with room for n bytes at least.
func getBuffer(n int) *buffer {
	p, size := poolOf(n)
	if size >= size64K {
		large.Add(int64(size))
	}
	if p != nil {
		if b, ok := p.Get().(*buffer); ok {
			return b
		}
	}
	return &buffer{make([]byte, 0, size)}
}

func (b *buffer) free() {
	p, size := poolOf(cap(b.b))
	if cap(b.b) >= size64K {
		large.Add(-int64(cap(b.b)))
	}
	if p == nil || cap(b.b) != size {
		return
	}
	b.b = b.b[:0]
	p.Put(b)
}

// appendTo appends p to b, which may be nil, and returns the buffer that holds
// the result; b is freed when a larger one was needed.
func appendTo(b *buffer, p []byte) *buffer {
	if b == nil {
		b = getBuffer(len(p))
	}
	if n := len(b.b) + len(p); n > cap(b.b) {
		more := getBuffer(max(n, 2*cap(b.b), min(4*cap(b.b), size256K))) // what has grown once grows on
		more.b = append(more.b, b.b...)
		b.free()
		b = more
	}
	b.b = append(b.b, p...)
	return b
}
