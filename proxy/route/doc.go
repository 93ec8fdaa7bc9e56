// Package route decides what happens to an HTTP request: a Table, compiled
// once from a plain-Go Spec when configuration arrives, is asked with Find for
// the Entry of each request. The Entry then chooses the cluster, rewrites the
// head in both directions, makes redirects and hashes.
//
// A Table and its entries are immutable and safe for concurrent use. Find and
// the choice of a cluster allocate nothing and take no lock; changes of headers
// go to the memory of the filter.Headers at hand.
//
// The semantics are those of Envoy's route configuration: the order of virtual
// hosts (exact, suffix wildcard, prefix wildcard, "*"), the first matching
// route, the order of header operations. The package knows no clusters and no
// endpoints; subsets travel as a key (see filter.SubsetKey). It does no I/O,
// reads no clock and has no random source: the caller brings a random number.
package route
