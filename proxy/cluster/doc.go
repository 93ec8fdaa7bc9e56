// Package cluster knows where requests can go: the clusters of the data plane,
// their endpoints and the health that traffic shows, the choice of an endpoint
// for each request, the limits on what may be outstanding, and how a connection
// to an endpoint is made.
//
// Manager.Get and Cluster.Pick are for the hot path: they allocate nothing and
// take no lock, for they read immutable views behind atomic pointers. Views are
// rebuilt when endpoints, health or names change, by the goroutine of Manager.Run,
// which also resolves names and ends ejections. Spec and Endpoints are plain Go
// and immutable once handed over.
//
// The semantics are Envoy's: priorities with overprovisioning, panic, locality
// weights, subsets, outlier detection, circuit breakers and the names of
// statistics. The package pools no connections: pools of the HTTP part hang
// themselves onto hosts with Host.Attach. Active health checks are in health and active.go.
package cluster
