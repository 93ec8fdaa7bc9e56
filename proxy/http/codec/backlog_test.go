package codec

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestBacklog compares it with a slice that is moved.
func TestBacklog(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var q Backlog
	var want []byte
	next := byte(0)
	for range 10000 {
		switch n := r.IntN(300); {
		case r.IntN(200) == 0:
			q.Reset()
			want = nil
		case r.IntN(2) == 0:
			p := make([]byte, n)
			for i := range p {
				next++
				p[i] = next
			}
			q.Append(p)
			want = append(want, p...)
		default:
			n = min(n, len(want))
			q.Drop(n)
			want = want[n:]
		}
		if q.Len() != len(want) || !bytes.Equal(q.Bytes(), want) {
			t.Fatalf("holds %d bytes, want %d", q.Len(), len(want))
		}
	}
}

// TestBacklogMemory: a stream through it needs no more memory than what waits at a time.
func TestBacklogMemory(t *testing.T) {
	const waits, piece = 64 << 10, 4 << 10
	var q Backlog
	q.Append(make([]byte, waits))
	p := make([]byte, piece)
	for range 10000 {
		q.Append(p)
		q.Drop(piece)
	}
	if c := cap(q.b); c > 4*waits {
		t.Errorf("%d bytes of memory for %d that wait", c, waits)
	}
	if n := testing.AllocsPerRun(100, func() { q.Append(p); q.Drop(piece) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	q.Append(make([]byte, 8*keepBacklog))
	if q.Reset(); cap(q.b) != 0 {
		t.Errorf("%d bytes kept", cap(q.b))
	}
}
