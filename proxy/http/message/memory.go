package message

import "sync"

// Connections keep little; what more they need while much is under way comes from here, and goes back at once.
var (
	spareStreams = sync.Pool{New: func() any { return &stream{} }}
	spareOutput  sync.Pool // of *loan
)

// mostOutput bounds the memory of output that is kept for the next who needs it.
const mostOutput = 256 << 10

// loan is memory for messages that are to be sent.
type loan struct{ b []byte }

// room is where the next message is written to: behind others, or into memory that is borrowed.
func (s *side) room() []byte {
	if cap(s.out) == 0 {
		if s.lent, _ = spareOutput.Get().(*loan); s.lent != nil {
			s.out = s.lent.b[:0]
		}
	}
	return s.out
}

// ClearOutput implements httpcodec.Codec.
func (s *side) ClearOutput() {
	if cap(s.out) <= keepCap {
		s.out = s.out[:0]
		return
	}
	if cap(s.out) <= mostOutput {
		if s.lent == nil {
			s.lent = &loan{}
		}
		s.lent.b = s.out[:0]
		spareOutput.Put(s.lent)
	}
	s.out, s.lent = nil, nil
}
