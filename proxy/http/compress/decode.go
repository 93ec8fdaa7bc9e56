package compress

import (
	"errors"
	"io"
	"iter"
)

// maxRatio is Envoy's bound on how much larger a body may become.
const maxRatio = 100

// ratioFrom is the size below which the ratio is not looked at.
const ratioFrom = 64 << 10

// decoder decompresses one body. The libraries pull; the body is pushed. So the
// library runs as a coroutine, which is left whenever it wants bytes that have
// not come yet. It must be stopped.
type decoder struct {
	next func() ([]byte, bool)
	stop func()

	in       []byte // that the library has not taken yet
	ended    bool
	err      error
	from, to uint64 // bytes
	ratio    uint64
}

var (
	errRatio   = errors.New("the body becomes too large")
	errStopped = errors.New("stopped")
)

func (l *library) decoder(ratio uint64) *decoder {
	d := &decoder{ratio: ratio}
	d.next, d.stop = iter.Pull(func(yield func([]byte) bool) { d.run(l, yield) })
	return d
}

// source is the body as the library sees it.
type source struct {
	d     *decoder
	yield func([]byte) bool
}

// Read leaves the coroutine until there is something to read.
func (s source) Read(p []byte) (int, error) {
	d := s.d
	for len(d.in) == 0 {
		if d.ended {
			return 0, io.EOF
		}
		if !s.yield(nil) {
			return 0, errStopped
		}
	}
	n := copy(p, d.in)
	d.in = d.in[n:]
	return n, nil
}

// run is the coroutine: it yields what came out, and nil when it needs more.
func (d *decoder) run(l *library, yield func([]byte) bool) {
	r, end, err := l.reader(source{d, yield})
	if err != nil {
		d.err = err
		return
	}
	defer end()
	buf := make([]byte, 16<<10)
	for {
		n, err := r.Read(buf)
		d.to += uint64(n)
		if d.to > ratioFrom && d.to/d.ratio > d.from {
			d.err = errRatio
			return
		}
		if n > 0 && !yield(buf[:n]) {
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				d.err = err
			}
			return
		}
	}
}

// decode calls out with all that b brings to light. An error is final.
func (d *decoder) decode(b []byte, end bool, out func([]byte)) error {
	d.in, d.ended = b, end
	d.from += uint64(len(b))
	for {
		p, more := d.next()
		if !more {
			return d.err
		}
		if p == nil {
			return nil
		}
		out(p)
	}
}
