// Package transparent proves, with real network namespaces, that a proxy can stand
// between two networks and be seen by neither: it takes what is meant for others
// (transparent listeners) and speaks as the client (original_src, use_original_src_ip).
// The tests need root.
package transparent
