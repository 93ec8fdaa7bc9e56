package inject

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Names of volumes, Istio's, for users mount them into their containers.
const (
	volumeSocket     = "workload-socket"
	volumeCredential = "credential-socket"
	volumeCerts      = "workload-certs"
	volumeCA         = "istiod-ca-cert"
	volumeCRL        = "istio-ca-crl"
	volumeData       = "istio-data"
	volumeEnvoy      = "istio-envoy"
	volumeXDS        = "istio-xds"
	volumeToken      = "istio-token"
	volumePodInfo    = "istio-podinfo"
	volumeMounted    = "istio-certs"
)

// tokenSeconds is how long the token of a service account is good; the kubelet renews it
// before.
const tokenSeconds = 12 * 60 * 60

// mounts are the volumes of the proxy. crl: that with revoked certificates, too.
func (w *work) mounts(c *corev1.Container, crl bool) {
	at := func(name, path string) {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
	at(volumeSocket, "/var/run/secrets/workload-spiffe-uds")
	at(volumeCredential, "/var/run/secrets/credential-uds")
	at(volumeCerts, "/var/run/secrets/workload-spiffe-credentials")
	at(volumeCA, "/var/run/secrets/istio")
	if crl {
		at(volumeCRL, "/var/run/secrets/istio/crl")
	}
	at(volumeData, "/var/lib/istio/data")
	at(volumeEnvoy, "/etc/istio/proxy")
	at(volumeToken, "/var/run/secrets/tokens")
	at(volumePodInfo, "/etc/istio/pod")
	if w.settings.MountCerts {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volumeMounted, MountPath: "/etc/certs/", ReadOnly: true})
	}
}

// volumes are those that mounts names.
func (w *work) volumes(crl bool) []corev1.Volume {
	out := []corev1.Volume{
		empty(volumeSocket, "", smallLimit), empty(volumeCredential, "", smallLimit), empty(volumeCerts, "", smallLimit),
		empty(volumeEnvoy, corev1.StorageMediumMemory, memoryLimit), empty(volumeData, "", dataLimit),
		podInfo(), w.token(), w.root(),
	}
	if crl {
		out = append(out, corev1.Volume{Name: volumeCRL, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: w.settings.CRLConfigMap}, Optional: ptr(true),
		}}})
	}
	if w.settings.MountCerts {
		out = append(out, corev1.Volume{Name: volumeMounted, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: "istio." + or(w.pod.Spec.ServiceAccountName, "default"), Optional: ptr(true),
		}}})
	}
	return out
}

// Limits of what the proxy may write: sockets and certificates; a bootstrap and sockets, in
// memory; modules of plug-ins, a core. A pod that is over one is evicted.
const (
	smallLimit  = "16Mi"
	memoryLimit = "64Mi"
	dataLimit   = "1Gi"
)

func empty(name string, medium corev1.StorageMedium, limit string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium, SizeLimit: ptr(resource.MustParse(limit))}}}
}

func podInfo() corev1.Volume {
	file := func(path string) corev1.DownwardAPIVolumeFile {
		return corev1.DownwardAPIVolumeFile{Path: path, FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata." + path}}
	}
	return corev1.Volume{Name: volumePodInfo, VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
		Items: []corev1.DownwardAPIVolumeFile{file("labels"), file("annotations")},
	}}}
}

func (w *work) token() corev1.Volume {
	return corev1.Volume{Name: volumeToken, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{
		ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "istio-token", Audience: w.settings.TokenAudience, ExpirationSeconds: ptr(int64(tokenSeconds))},
	}}}}}
}

func (w *work) root() corev1.Volume {
	return corev1.Volume{Name: volumeCA, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: w.settings.CAConfigMap},
	}}}
}

// userMounts are those of the annotation, by the names of volumes.
func (w *work) userMounts(c *corev1.Container) error {
	mounts, err := parseMounts(w.pod.Annotations[annotation.SidecarUserVolumeMount.Name])
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(mounts)) {
		m := mounts[name]
		m.Name = name
		c.VolumeMounts = append(c.VolumeMounts, m)
	}
	return nil
}

func (w *work) userVolumes() (out []corev1.Volume, err error) {
	volumes, err := parseVolumes(w.pod.Annotations[annotation.SidecarUserVolume.Name])
	for _, name := range slices.Sorted(maps.Keys(volumes)) {
		out = append(out, corev1.Volume{Name: name, VolumeSource: volumes[name]})
	}
	return out, err
}

func parseMounts(text string) (map[string]corev1.VolumeMount, error) {
	return parseJSON[corev1.VolumeMount](text)
}

func parseVolumes(text string) (map[string]corev1.VolumeSource, error) {
	return parseJSON[corev1.VolumeSource](text)
}

func parseJSON[T any](text string) (map[string]T, error) {
	out := map[string]T{}
	if text == "" {
		return out, nil
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&out); err != nil {
		return nil, fmt.Errorf("want JSON, as {\"name\": {…}}: %w", err)
	}
	return out, nil
}

func isMounts(s string) error {
	_, err := parseMounts(s)
	return err
}

func isVolumes(s string) error {
	_, err := parseVolumes(s)
	return err
}
