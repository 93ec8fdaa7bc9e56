package filter

import "time"

// Call is a request of the proxy's own to a host of a cluster. Nothing in it may
// be changed before it is done.
type Call struct {
	Cluster string
	Header  *Headers
	Body    []byte
	// Timeout of the whole call, 0: none.
	Timeout time.Duration
	// MaxBody bounds the answer's body, 0: 1 MiB. A larger one is an error.
	MaxBody int
}

// Answer to a Call. It belongs to who gets it.
type Answer struct {
	Header *Headers
	Body   []byte
	// Trailer is nil when there was none.
	Trailer *Headers
}

// Caller makes calls, for filters that ask somebody else.
type Caller interface {
	// Call begins a call and returns at once. done is called once, on any
	// goroutine, maybe before Call returns; after cancel it is called no more,
	// unless it is being called already. cancel may be called from anywhere, at any time.
	Call(c *Call, done func(*Answer, error)) (cancel func())
}
