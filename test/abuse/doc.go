// Package abuse tests that the proxy lives through load and malice: with the real
// binary, clients that are many, slow or hostile, upstreams that are no better, and a
// system without descriptors, memory or disk. What is asked of it each time: it stays
// up, answers others, recovers, and gives the memory back.
//
// `go test` does it small; `make soak-abuse` with the numbers of the milestone.
package abuse
