// Package hosts tests machines that join a mesh which runs elsewhere: network namespaces are
// the machines, with the real programs in them.
package hosts
