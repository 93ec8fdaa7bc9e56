package numbered

import (
	"fmt"
	"io"
	"time"
)

// piece is how much Echo reads at a time.
const piece = 64 << 10

// Echo sends the first size bytes of a stream to something that sends back what it gets, and
// checks that they come. slow: it reads with rests between the pieces, so that all on the way
// have to wait for it, and to go on, again and again.
func Echo(rw io.ReadWriter, stream uint16, size int64, slow bool) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(struct{ io.Writer }{rw}, &Reader{Stream: stream, Size: size})
		sent <- err
	}()
	if err := Receive(rw, stream, size, slow); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("stream %d: sending: %w", stream, err)
	}
	return nil
}

// Receive checks that the first size bytes of a stream come; slow as in Echo.
func Receive(r io.Reader, stream uint16, size int64, slow bool) error {
	got := Checker{Stream: stream}
	for got.Len() < size {
		if slow {
			time.Sleep(time.Millisecond) // not to wait for something, but to be slow
		}
		if _, err := io.CopyN(&got, r, min(piece, size-got.Len())); err != nil {
			if got.Err() != nil {
				return got.Err()
			}
			return fmt.Errorf("stream %d, after %d bytes: %w", stream, got.Len(), err)
		}
	}
	return nil
}
