package codec

// keepBacklog bounds the memory that an empty Backlog keeps.
const keepBacklog = 64 << 10

// Backlog is the part of a body that the peer's window does not take yet. Taking from its front
// moves nothing: peers open their windows by 4 KiB at a time while a MiB waits. The zero value
// is empty.
type Backlog struct {
	b   []byte
	off int
}

// Len is the number of bytes that wait.
func (q *Backlog) Len() int { return len(q.b) - q.off }

// Bytes are what waits, valid until the next call of another method.
func (q *Backlog) Bytes() []byte { return q.b[q.off:] }

// Append puts a copy of p at the end.
func (q *Backlog) Append(p []byte) {
	// Half of the memory is free in front: every byte is moved once at most on the average.
	if q.off > 0 && len(q.b)+len(p) > cap(q.b) && q.off >= len(q.b)/2 {
		q.b = q.b[:copy(q.b, q.b[q.off:])]
		q.off = 0
	}
	q.b = append(q.b, p...)
}

// Drop takes n bytes from the front.
func (q *Backlog) Drop(n int) {
	q.off += n
	if q.off >= len(q.b) {
		q.b, q.off = q.b[:0], 0
	}
}

// Reset empties the Backlog for another stream; much memory is not kept.
func (q *Backlog) Reset() {
	q.b, q.off = q.b[:0], 0
	if cap(q.b) > keepBacklog {
		q.b = nil
	}
}
