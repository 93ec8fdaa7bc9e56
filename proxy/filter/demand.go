package filter

// Missing is what a request waits for because the proxy holds only what has
// been asked for (Stream.Missing). At most one field is set.
type Missing struct {
	// Hosts names the route configuration that takes virtual hosts on demand, and
	// has none for the request's authority.
	Hosts string
	// Routes names the route configuration that the request's scope has, and that
	// is to be fetched on demand.
	Routes string
	// Cluster is where the chosen route leads, and which is not there.
	Cluster string
}

// Outcome of asking the control plane for something.
type Outcome uint8

// Outcomes.
const (
	// Waiting: there is no answer yet.
	Waiting Outcome = iota
	// Found: it is in effect.
	Found
	// Absent: there is no such thing, or it was refused.
	Absent
	// Unanswered: the control plane did not answer in time, or too much is being
	// asked for.
	Unanswered
)
