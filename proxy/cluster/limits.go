package cluster

// Resource is what a circuit breaker limits.
type Resource uint8

// Resources.
const (
	Connections Resource = iota
	Pending
	Requests
	Retries
	resources
)

// Limits are the circuit breakers of one priority.
type Limits struct{}

// Acquire takes one, false: the limit is reached (and the overflow counted).
func (l *Limits) Acquire(r Resource) bool { panic("BUG: being built") }

// Release gives one back.
func (l *Limits) Release(r Resource) { panic("BUG: being built") }

// Open tells whether the next Acquire would fail.
func (l *Limits) Open(r Resource) bool { panic("BUG: being built") }
