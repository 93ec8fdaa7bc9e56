// Package handover replaces a running proxy by a new process without cutting
// anything. The two meet at a unix socket, whose path both were given: the new
// process is handed the listening sockets themselves (so that no connection in
// a queue is lost), the warm state and the counts; the old one stops accepting
// when the new one does, and goes on until its last connection has ended. The
// protocol is wire.HandoverMessage's.
//
// Guarantees: until the new process has said that it is ready the old one does
// nothing but answer, so one that dies before that has no effect. The path always
// leads to the process that accepts; any number of generations may be draining
// behind it, and their counts arrive where the metrics are read. Two processes
// that want to take over at the same time do so one after the other.
//
// The package knows neither listeners nor metrics: sockets have names, the
// state is opaque, and what is counted comes as numbers with names. It does not
// start processes. Connections that their owner gives away (Give) are brought to
// the process that accepts; what they are is its secret, too.
package handover
