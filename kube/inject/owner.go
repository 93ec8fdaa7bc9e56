package inject

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// cronJobs makes Jobs of names that end in the minute at which they were due.
var cronJobs = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// ownerOf finds what a pod was made for, by what its controller has written; a pod that
// has a name of its own is its own. What makes what (a Deployment its ReplicaSets) is
// told by the forms of their names, for nobody is asked.
func ownerOf(pod *corev1.Pod, namespace string) Owner {
	own := Owner{APIVersion: "v1", Kind: "Pod", Name: pod.Name, Namespace: namespace}
	if pod.GenerateName == "" {
		return own
	}
	for _, ref := range pod.OwnerReferences {
		if ref.Controller == nil || !*ref.Controller {
			continue
		}
		o := Owner{APIVersion: ref.APIVersion, Kind: ref.Kind, Name: ref.Name, Namespace: namespace}
		without := func(key string) (string, bool) {
			hash := pod.Labels[key]
			if hash == "" {
				return "", false
			}
			return strings.CutSuffix(ref.Name, "-"+hash)
		}
		switch ref.Kind {
		case "ReplicaSet":
			if name, ok := without("pod-template-hash"); ok {
				o.Kind, o.Name = "Deployment", name
			} else if name, ok := without("rollouts-pod-template-hash"); ok {
				o.APIVersion, o.Kind, o.Name = "argoproj.io/v1alpha1", "Rollout", name
			}
		case "ReplicationController":
			if name := pod.Labels["deploymentconfig"]; name != "" {
				o.APIVersion, o.Kind, o.Name = "apps.openshift.io/v1", "DeploymentConfig", name
			}
		case "Job":
			if m := cronJobs.FindStringSubmatch(ref.Name); m != nil {
				o.APIVersion, o.Kind, o.Name = "batch/v1", "CronJob", m[1]
			}
		}
		return o
	}
	return own
}

// reference names the owner as Istio's metadata does; "": it has no name.
func (o Owner) reference() string {
	if o.APIVersion == "" || o.Name == "" {
		return ""
	}
	namespace := o.Namespace
	if namespace == "" {
		namespace = "default"
	}
	return "kubernetes://apis/" + o.APIVersion + "/namespaces/" + namespace + "/" + strings.ToLower(o.Kind) + "s/" + o.Name
}
