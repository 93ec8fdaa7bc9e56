// Package translate turns a scope.View into xDS v3 resources, in Istio's eager
// layout: a listener per port or virtual IP, a route configuration per HTTP
// port, a cluster per port and subset, with Istio's names byte for byte.
//
// Translate is a pure function: no I/O, no clock, no randomness; the same View
// gives the same bytes. What it cannot carry out it reports as a Finding that
// names the object and the field, and it goes on with the rest.
//
// The set of messages and fields that it makes is kept small on purpose, since
// the Go proxy refuses what it does not know.
package translate
