package kube

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/weftmesh/weft/control/source/document"
)

// quiet are annotations that others than people write.
var quiet = map[string]bool{
	annotation.SidecarStatus.Name: true, annotation.GatewayControllerVersion.Name: true, annotation.IoIstioRev.Name: true,
	annotation.AmbientRedirection.Name: true,
}

// instead says what to write in place of a deprecated annotation.
var instead = map[string]string{
	annotation.SidecarInject.Name: "use the label " + annotation.SidecarInject.Name,
}

// annotations judges those of Istio on an object, or on the pods that it makes,
// which have the kind "Pod".
func annotations(d *document.Document, at, kind string, values map[string]string) {
	names := slices.Sorted(maps.Keys(values))
	for _, name := range names {
		domain, _, _ := strings.Cut(name, "/")
		if name != "kubernetes.io/ingress.class" && !strings.HasSuffix(domain, "istio.io") || quiet[name] {
			continue
		}
		field := document.Join(at, name)
		known := findAnnotation(name)
		if known == nil {
			d.Warn(document.CodeNoAnnotation, field, cmp.Or(document.Suggest(name, annotationNames()), "check the spelling"), "Istio has no such annotation")
			continue
		}
		if known.Deprecated && !slices.Contains(slices.Collect(maps.Keys(d.Labels)), name) {
			d.Info(document.CodeOldAnnotation, field, instead[name], "is deprecated")
		}
		var kinds []string
		for _, r := range known.Resources {
			kinds = append(kinds, r.String())
		}
		if !slices.Contains(kinds, kind) && !slices.Contains(kinds, annotation.Any.String()) {
			remedy := "remove it"
			if slices.Contains(kinds, "Pod") {
				remedy = "write it under spec.template.metadata"
			}
			d.Warn(document.CodeMisplaced, field, remedy, "has no effect on a %s: it is for %s", kind, strings.Join(kinds, ", "))
			continue
		}
		if check := annotationValues[name]; check != nil && !check(values[name]) {
			d.Warn(document.CodeAnnotation, field, "see Istio's reference of annotations", "%q is no valid value", values[name])
		}
	}
}

func findAnnotation(name string) *annotation.Instance {
	for _, a := range annotation.AllResourceAnnotations() {
		if a.Name == name {
			return a
		}
	}
	return nil
}

func annotationNames() []string {
	var out []string
	for _, a := range annotation.AllResourceAnnotations() {
		out = append(out, a.Name)
	}
	return out
}

// annotationValues are the annotations whose values are of a certain form.
var annotationValues = map[string]func(string) bool{
	annotation.SidecarInterceptionMode.Name: func(v string) bool {
		return slices.Contains([]string{"REDIRECT", "TPROXY", "NONE"}, v)
	},
	annotation.SidecarStatusPort.Name:                         isPort,
	annotation.SidecarStatusReadinessInitialDelaySeconds.Name: isNumber,
	annotation.SidecarStatusReadinessPeriodSeconds.Name:       isNumber,
	annotation.SidecarStatusReadinessFailureThreshold.Name:    isNumber,
	annotation.SidecarTrafficIncludeOutboundIPRanges.Name:     orAll(listOf(isCIDR)),
	annotation.SidecarTrafficExcludeOutboundIPRanges.Name:     listOf(isCIDR),
	annotation.SidecarTrafficIncludeInboundPorts.Name:         orAll(listOf(isPort)),
	annotation.SidecarTrafficExcludeInboundPorts.Name:         listOf(isPort),
	annotation.SidecarTrafficExcludeOutboundPorts.Name:        listOf(isPort),
	annotation.PrometheusMergeMetrics.Name:                    isBool,
	annotation.SidecarProxyCPU.Name:                           isQuantity,
	annotation.SidecarProxyMemory.Name:                        isQuantity,
	annotation.SidecarProxyCPULimit.Name:                      isQuantity,
	annotation.SidecarProxyMemoryLimit.Name:                   isQuantity,
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	return err == nil
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

func isBool(s string) bool {
	_, err := strconv.ParseBool(s)
	return err == nil
}

func isCIDR(s string) bool {
	_, err := netip.ParsePrefix(s)
	return err == nil
}

func isQuantity(s string) bool {
	_, err := resource.ParseQuantity(s)
	return err == nil
}

// listOf takes a list with commas, which may be empty.
func listOf(each func(string) bool) func(string) bool {
	return func(s string) bool {
		if strings.TrimSpace(s) == "" {
			return true
		}
		for part := range strings.SplitSeq(s, ",") {
			if !each(part) {
				return false
			}
		}
		return true
	}
}

func orAll(list func(string) bool) func(string) bool {
	return func(s string) bool { return s == "*" || list(s) }
}
