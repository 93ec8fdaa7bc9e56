// Package listener takes connections in: it holds the listening sockets, finds
// out where a captured connection wanted to go and what it speaks, chooses the
// filter chain as Envoy does, does the TLS handshake and hands the connection
// to the chain's terminal filter.
//
// Manager.Update replaces the whole set of listeners at run time. Sockets that
// are still wanted stay open, chains whose Version did not change keep their
// filters and connections, and only the connections of the others are drained.
// A listener that is bad, or cannot be bound, changes nothing but itself: its
// last good version stays.
//
// Accepting takes no lock: a socket reads one atomic pointer to immutable
// configuration. Bytes are looked at without being consumed (MSG_PEEK), and
// only if the choice of a chain depends on them, so protocols in which the server
// speaks first do not wait on a port where nothing is to be found out.
//
// The package knows no protocols above TLS's first message and no Envoy types;
// proxy/config makes Listeners.
package listener
