package inject

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Annotations of Weft's own.
const (
	// EngineKey chooses the engine of a pod's proxy.
	EngineKey = "weft.dev/engine"
	// scrapeTargetsKey lists several places of a program's metrics; Istio's api module has
	// no name for it, nor for the next.
	scrapeTargetsKey = "prometheus.istio.io/scrape-targets"
	securePortKey    = "prometheus.istio.io/secure-port"
	// bindKey lets a sidecar bind ports below 1024.
	bindKey = "sidecar.istio.io/capNetBindService"
)

// effect is what becomes of an annotation.
type effect struct {
	// check says what is wrong with a value; nil: nothing is.
	check func(string) error
	// none says why it has no effect, and what to do.
	none string
	// old says what to write instead.
	old string
}

// effects are of all annotations that Istio has for pods (a test compares).
var effects = map[string]effect{
	annotation.SidecarInject.Name:                             {old: "write it as a label"},
	annotation.GatewayControllerVersion.Name:                  {}, // controllers write it
	annotation.SidecarStatus.Name:                             {},
	annotation.ProxyOverrides.Name:                            {},
	annotation.SidecarRewriteAppHTTPProbers.Name:              {check: isBool},
	annotation.SidecarProxyImage.Name:                         {},
	annotation.SidecarProxyImageType.Name:                     {},
	annotation.SidecarProxyCPU.Name:                           {check: isQuantity},
	annotation.SidecarProxyCPULimit.Name:                      {check: isQuantity},
	annotation.SidecarProxyMemory.Name:                        {check: isQuantity},
	annotation.SidecarProxyMemoryLimit.Name:                   {check: isQuantity},
	annotation.SidecarInterceptionMode.Name:                   {check: isMode},
	annotation.SidecarNativeSidecar.Name:                      {check: isBool},
	annotation.SidecarUserVolume.Name:                         {check: isVolumes},
	annotation.SidecarUserVolumeMount.Name:                    {check: isMounts},
	annotation.SidecarLogLevel.Name:                           {},
	annotation.SidecarAgentLogLevel.Name:                      {},
	annotation.SidecarComponentLogLevel.Name:                  {none: "remove it: sidecar.istio.io/logLevel is for all of the proxy"},
	annotation.SidecarBootstrapOverride.Name:                  {none: "write an EnvoyFilter with applyTo: BOOTSTRAP"},
	annotation.SidecarStatsHistogramBuckets.Name:              {none: "remove it: buckets of histograms are Envoy's defaults"},
	annotation.SidecarStatsHistogramBins.Name:                 {none: "remove it: histograms have buckets, and no bins"},
	annotation.SidecarStatsFlushInterval.Name:                 {none: "remove it: statistics are made when they are asked for"},
	annotation.SidecarStatsEvictionInterval.Name:              {none: "remove it: statistics go with what they are of"},
	annotation.SidecarStatsCompression.Name:                   {none: "remove it: who asks with Accept-Encoding gets plain text"},
	annotation.SidecarStatsInclusionPrefixes.Name:             {old: "write proxyStatsMatcher in proxy.istio.io/config", none: "write proxyStatsMatcher in proxy.istio.io/config"},
	annotation.SidecarStatsInclusionSuffixes.Name:             {old: "write proxyStatsMatcher in proxy.istio.io/config", none: "write proxyStatsMatcher in proxy.istio.io/config"},
	annotation.SidecarStatsInclusionRegexps.Name:              {old: "write proxyStatsMatcher in proxy.istio.io/config", none: "write proxyStatsMatcher in proxy.istio.io/config"},
	annotation.SidecarExtraStatTags.Name:                      {none: "remove it: every tag is shown"},
	annotation.SidecarDiscoveryAddress.Name:                   {old: "write discoveryAddress in proxy.istio.io/config"},
	annotation.SidecarStatusPort.Name:                         {check: isPort},
	annotation.SidecarStatusReadinessInitialDelaySeconds.Name: {check: isNumber},
	annotation.SidecarStatusReadinessPeriodSeconds.Name:       {check: isNumber},
	annotation.SidecarStatusReadinessFailureThreshold.Name:    {check: isNumber},
	annotation.SidecarStatusReadinessApplicationPorts.Name:    {none: "remove it: readiness does not wait for the program's ports"},
	annotation.SidecarTrafficIncludeOutboundIPRanges.Name:     {check: orAll(listOf(isCIDR))},
	annotation.SidecarTrafficExcludeOutboundIPRanges.Name:     {check: listOf(isCIDR)},
	annotation.SidecarTrafficIncludeInboundPorts.Name:         {check: orAll(listOf(isPort))},
	annotation.SidecarTrafficExcludeInboundPorts.Name:         {check: listOf(isPort)},
	annotation.SidecarTrafficIncludeOutboundPorts.Name:        {check: orAll(listOf(isPort))},
	annotation.SidecarTrafficExcludeOutboundPorts.Name:        {check: listOf(isPort)},
	annotation.SidecarTrafficExcludeInterfaces.Name:           {check: listOf(isInterface)},
	annotation.SidecarTrafficKubevirtInterfaces.Name:          {check: listOf(isInterface), old: "write " + annotation.IoIstioRerouteVirtualInterfaces.Name},
	annotation.IoIstioRerouteVirtualInterfaces.Name:           {check: listOf(isInterface)},
	annotation.ProxyConfig.Name:                               {},
	annotation.PrometheusMergeMetrics.Name:                    {check: isBool},
	annotation.InjectTemplates.Name:                           {},
	annotation.IoIstioRev.Name:                                {},
	annotation.AmbientRedirection.Name:                        {none: noAmbient},
	annotation.AmbientBypassInboundCapture.Name:               {none: noAmbient},
	annotation.AmbientDnsCapture.Name:                         {none: noAmbient},
	scrapeTargetsKey:                                          {},
	securePortKey:                                             {},
	bindKey:                                                   {check: isBool},
	EngineKey:                                                 {check: isEngine},
}

const noAmbient = "remove it: there is no ambient mode"

// wrongAnnotation is the error of a pod that cannot be injected as it asks.
func wrongAnnotation(pod *corev1.Pod, namespace, name string, err error) error {
	return fmt.Errorf("%s: annotation %s: %q: %w", title(pod, namespace), name, pod.Annotations[name], err)
}

// checkAnnotations says what is wrong with a pod's annotations, all of it.
func checkAnnotations(pod *corev1.Pod, namespace string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(pod.Annotations)) {
		if e := effects[name]; e.check != nil {
			if err := e.check(pod.Annotations[name]); err != nil {
				errs = append(errs, wrongAnnotation(pod, namespace, name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func isBool(s string) error {
	if _, err := strconv.ParseBool(s); err != nil {
		return errors.New("want true or false")
	}
	return nil
}

func isMode(s string) error {
	switch s {
	case modeRedirect, modeTPROXY, modeNone:
		return nil
	}
	return fmt.Errorf("want %s, %s or %s", modeRedirect, modeTPROXY, modeNone)
}

func isEngine(s string) error {
	if s != EngineGo {
		return fmt.Errorf("want %s: no other engine runs in pods yet", EngineGo)
	}
	return nil
}

func isQuantity(s string) error {
	if _, err := resource.ParseQuantity(s); err != nil {
		return errors.New("want a quantity, as 100m or 128Mi")
	}
	return nil
}

func isPort(s string) error {
	if _, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16); err != nil {
		return fmt.Errorf("%q is no port: want a number from 0 to 65535", s)
	}
	return nil
}

func isNumber(s string) error {
	if _, err := strconv.ParseInt(s, 10, 32); err != nil || s[0] == '-' {
		return errors.New("want a number that is not negative")
	}
	return nil
}

func isCIDR(s string) error {
	if _, err := netip.ParsePrefix(strings.TrimSpace(s)); err != nil {
		return fmt.Errorf("%q is no range: want an address and a length, as 10.0.0.0/8", s)
	}
	return nil
}

// maxInterface is what Linux allows of a name.
const maxInterface = 15

func isInterface(s string) error {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxInterface || strings.ContainsAny(s, "/ \t") {
		return fmt.Errorf("%q is no name of an interface", s)
	}
	return nil
}

// listOf checks a list with commas, which may be empty.
func listOf(each func(string) error) func(string) error {
	return func(s string) error {
		if strings.TrimSpace(s) == "" {
			return nil
		}
		for part := range strings.SplitSeq(s, ",") {
			if err := each(part); err != nil {
				return err
			}
		}
		return nil
	}
}

func orAll(list func(string) error) func(string) error {
	return func(s string) error {
		if s == "*" {
			return nil
		}
		return list(s)
	}
}
