package document

import (
	"slices"
	"strings"
)

// Kinds of groups that we read too, for which there is something to say. The
// word is what a reader needs to know.
var elsewhere = map[string][]string{
	"": {
		"Pod", "PodTemplate", "ReplicationController", "PersistentVolume", "PersistentVolumeClaim", "LimitRange",
		"ResourceQuota", "Node", "Event",
	},
}

// runs are the kinds that run programs on Kubernetes.
var runs = []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Job", "CronJob", "ReplicationController"}

// notYet are kinds that shape traffic and are not carried out by this version,
// by group; true: passing it over may open what it means to close.
var notYet = map[string]map[string]bool{
	"networking.k8s.io": {"NetworkPolicy": true},
	"gateway.networking.k8s.io": {
		"BackendLBPolicy": false, "BackendTrafficPolicy": false,
	},
	"gateway.networking.x-k8s.io": {
		"XBackend": false, "XBackendTrafficPolicy": false, "XMesh": false, "XTelemetryPolicy": false,
	},
}

// trafficGroups shape traffic with every kind they have.
var trafficGroups = []string{
	"multicluster.x-k8s.io", "config.netease.com", "microservice.slime.io", "microservice.netease.com",
	"dubbo.aeraki.io", "metaprotocol.aeraki.io",
}

// kubernetesGroups are those of Kubernetes itself and its tools.
var kubernetesGroups = []string{
	"apps", "batch", "autoscaling", "policy", "rbac.authorization.k8s.io", "networking.k8s.io", "storage.k8s.io",
	"apiextensions.k8s.io", "admissionregistration.k8s.io", "coordination.k8s.io", "discovery.k8s.io",
	"scheduling.k8s.io", "kustomize.config.k8s.io", "certificates.k8s.io",
}

// foreign judges a kind that no front end reads; true: it is in order.
func (dec *Decoder) foreign(d *Document, g string) bool {
	if deny, ok := notYet[g][d.Kind]; ok {
		return notCarriedOut(d, deny)
	}
	if slices.Contains(trafficGroups, g) {
		return notCarriedOut(d, false)
	}
	if slices.Contains(kubernetesGroups, g) || slices.Contains(elsewhere[g], d.Kind) && d.APIVersion == "v1" {
		remedy := ""
		if slices.Contains(runs, d.Kind) {
			remedy = "write a Process of weft.dev/v1alpha1 to run the program here"
		}
		d.Info(CodeElsewhere, "", remedy, "is for Kubernetes: ignored here")
		return true
	}
	if fronts := dec.byKind[d.Kind]; fronts != nil {
		d.Error(CodeKind, "apiVersion", "write "+fronts[0].APIVersion(), "%s is no version of %s", d.APIVersion, d.Kind)
		return false
	}
	known := slices.Concat(dec.kindsOf(g), elsewhere[g])
	if g == "" || slices.Contains(dec.groups, g) || notYet[g] != nil {
		remedy := Suggest(d.Kind, known)
		if remedy == "" {
			remedy = "known kinds: " + strings.Join(dec.kindsOf(g), ", ")
		}
		d.Error(CodeKind, "kind", remedy, "%q is no kind of %s", d.Kind, d.APIVersion)
		return false
	}
	if hint := Suggest(g, slices.Concat(dec.groups, trafficGroups, kubernetesGroups)); hint != "" {
		d.Error(CodeKind, "apiVersion", hint, "unknown API group %q", g)
		return false
	}
	if hint := Suggest(d.Kind, dec.kinds); hint != "" {
		d.Error(CodeKind, "kind", hint, "%s %s is unknown", d.APIVersion, d.Kind)
		return false
	}
	d.Info(CodeElsewhere, "", "", "%s is unknown to Weft: ignored here", d.APIVersion)
	return true
}

func notCarriedOut(d *Document, deny bool) bool {
	if deny {
		d.Error(CodeRefused, "", "it restricts traffic, so do not rely on it here", "%s is not carried out by Weft", d.Kind)
		return true
	}
	d.Warn(CodeIgnored, "", "", "%s is not carried out by this version of Weft", d.Kind)
	return true
}

// kindsOf lists the kinds of a group that we read.
func (dec *Decoder) kindsOf(g string) []string {
	var out []string
	for _, k := range dec.kinds {
		for _, f := range dec.byKind[k] {
			if f.Group == g && !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
	}
	return out
}
