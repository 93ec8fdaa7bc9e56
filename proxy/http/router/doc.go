// Package router sends one request to a cluster and brings the response back:
// the choice of cluster and host, timeouts, retries, mirroring, upgrades and
// tunnels, and the headers and statistics that belong to these.
//
// A Router is part of a downstream stream and lives on its lane; nothing
// blocks and there are no goroutines. The owner (proxy/http) brings the request
// piece by piece and the time with every event, and gets the response through
// the Downstream interface. A request body is kept for retries and mirrors up to a
// bound; beyond it there are none.
//
// The package knows no filters, no downstream protocol and no connection
// pools' inside.
package router
