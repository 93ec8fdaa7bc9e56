// Package pool carries HTTP exchanges to the hosts of clusters: connection
// pools for HTTP/1 and HTTP/2, and the threads of execution that connections
// run on.
//
// # Threads
//
// A Lane is an executor with a batch end: what an event wrote is flushed once,
// when the event is over. An HTTP/1 upstream connection is bound to the lane
// of the downstream connection that borrows it, and to an own executor while
// it is idle. An HTTP/2 upstream connection has an own lane; calls go across
// directly when the other lane is free (it is then held until the end of the
// event), and as a posted copy when it is not. Order is kept either way.
//
// # Rules
//
// An Exchange and everything its User is told happens inside the Exchange's
// Lane. The circuit breakers of the cluster are obeyed: connections, pending
// and active requests. Nothing here blocks, and the only goroutines are the
// ones of cluster.Dial.
//
// The package knows no routes, no retries and no timeouts of requests.
package pool
