package inject

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// proxyID is the user and group of the proxy, which redirection leaves out.
const proxyID = 1337

// Annotations of OpenShift's namespaces, which say who may run there.
const (
	uidRange    = "openshift.io/sa.scc.uid-range"
	groupRanges = "openshift.io/sa.scc.supplemental-groups"
)

// proxyIDs are user and group of the proxy: the last ones of OpenShift's ranges, where a
// namespace has some.
func proxyIDs(namespace map[string]string) (uid, gid int64) {
	uid, gid = proxyID, proxyID
	if last, err := lastOf(namespace[uidRange]); err == nil {
		uid = last
	}
	first, _, _ := strings.Cut(or(namespace[groupRanges], namespace[uidRange]), ",")
	if last, err := lastOf(first); err == nil {
		gid = last
	}
	return uid, gid
}

// withoutAssignedUser is the pod without the user of a proxy that it brings itself, where
// that is the user of its programs: OpenShift gives all containers the same, and what that
// user sends is not redirected. Elsewhere users mean what they write.
func withoutAssignedUser(pod *corev1.Pod, namespace map[string]string) *corev1.Pod {
	if namespace[uidRange] == "" {
		return pod
	}
	own := proxyOf(pod)
	if own == nil || own.SecurityContext == nil || own.SecurityContext.RunAsUser == nil {
		return pod
	}
	same := slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return c.Name != proxyName && c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil && *c.SecurityContext.RunAsUser == *own.SecurityContext.RunAsUser
	})
	if !same {
		return pod
	}
	pod = pod.DeepCopy()
	own = proxyOf(pod)
	own.SecurityContext.RunAsUser, own.SecurityContext.RunAsGroup = nil, nil
	return pod
}

// lastOf is the last number of a range: START/SIZE, or FIRST-LAST.
func lastOf(text string) (int64, error) {
	if a, b, ok := strings.Cut(text, "/"); ok {
		start, err := strconv.ParseInt(a, 10, 64)
		size, err2 := strconv.ParseInt(b, 10, 64)
		return start + size - 1, errors.Join(err, err2)
	}
	_, b, ok := strings.Cut(text, "-")
	if !ok {
		return 0, errors.New("no range")
	}
	return strconv.ParseInt(b, 10, 64)
}
