package inject

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// find is the container of a name; nil: there is none.
func find(list []corev1.Container, name string) *corev1.Container {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// proxyOf is the proxy's container of a pod; nil: it has none.
func proxyOf(pod *corev1.Pod) *corev1.Container {
	if c := find(pod.Spec.Containers, proxyName); c != nil {
		return c
	}
	return find(pod.Spec.InitContainers, proxyName)
}

// without is a list without a container.
func without(list []corev1.Container, name string) []corev1.Container {
	return slices.DeleteFunc(slices.Clone(list), func(c corev1.Container) bool { return c.Name == name })
}

// move puts a container of the pod among its init containers.
func move(pod *corev1.Pod, name string) {
	c := find(pod.Spec.Containers, name)
	if c == nil {
		return
	}
	moved := *c
	pod.Spec.Containers = without(pod.Spec.Containers, name)
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, moved)
}

// arrange puts a container first or last, if it is there.
func arrange(list []corev1.Container, name string, first bool) []corev1.Container {
	c := find(list, name)
	if c == nil {
		return list
	}
	moved, rest := *c, without(list, name)
	if first {
		return append([]corev1.Container{moved}, rest...)
	}
	return append(rest, moved)
}

// setEnv replaces and adds variables.
func setEnv(list []corev1.EnvVar, values map[string]string) []corev1.EnvVar {
	out := slices.DeleteFunc(slices.Clone(list), func(e corev1.EnvVar) bool {
		_, ok := values[e.Name]
		return ok
	})
	for _, k := range slices.Sorted(maps.Keys(values)) {
		out = append(out, corev1.EnvVar{Name: k, Value: values[k]})
	}
	return out
}

// programs are the names of the pod's containers that are not the mesh's.
func programs(pod *corev1.Pod) (out []string) {
	for _, c := range pod.Spec.Containers {
		if c.Name != proxyName {
			out = append(out, c.Name)
		}
	}
	return out
}
