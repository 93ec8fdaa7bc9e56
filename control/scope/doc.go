// Package scope answers "what may this proxy see": it joins one immutable
// snapshot with the identity of one proxy and gives the View that translation
// reads.
//
// NewIndex is made once per snapshot and shared by all proxies; Build is made
// per proxy and reads the index only. Both are pure and their results are
// read-only afterwards, so any number of goroutines may hold them.
//
// The package makes no xDS and decides no policy beyond visibility: exportTo,
// Sidecar egress, selectors and namespaces.
package scope
