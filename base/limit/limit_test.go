package limit

import (
	"context"
	"testing"
	"time"
)

// TestLimit: calls that end in time change nothing, one that does not ends the context; the parent's end does not.
func TestLimit(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	l := New(parent)
	defer l.Stop()
	cancel()
	for range 3 {
		l.Begin(time.Hour)
		l.End()
	}
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	l.Begin(time.Millisecond)
	<-l.Done()
	if l.Err() == nil {
		t.Error("a call that takes too long ends nothing")
	}
}
