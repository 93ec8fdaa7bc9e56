// Package config turns Envoy's messages into what the data plane runs on, and
// keeps it up to date: it reads the bootstrap, decodes and checks resources,
// joins listeners with their routes and clusters with their endpoints and
// secrets, warms what is new, and swaps.
//
// It guarantees: a field that the data plane does not support is an error that
// names its path, never ignored (the tables in supported_*.go say what is
// supported); a resource that is bad changes nothing, the last good version of
// it stays; a listener takes traffic only when its routes are there, a cluster
// when its endpoints and secrets are, or when the wait for them has timed out.
//
// Protobuf ends here: the stages after it see plain Go. It opens no sockets
// and has no clock but the fetch timeouts.
package config
