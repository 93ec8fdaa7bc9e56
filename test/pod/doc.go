// Package pod proves that what injection puts into a pod works there: pods that kube/inject
// has injected are run as a kubelet runs them, in network namespaces, with their users,
// variables, files, init containers, probes and lifecycle handlers, beside the real control
// plane and by the real binaries. Programs are of the test. The tests need root.
package pod
