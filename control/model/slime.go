package model

import (
	"slices"
	"strings"
)

// Fence says that workloads ask for what they use, and what they use anyway (Slime's ServiceFence).
type Fence struct {
	Meta    `json:"meta"`
	Enabled bool
	// Closed: nothing may be asked for but what the fence lists.
	Closed bool
	// Selector picks workloads of the namespace; nil: those of the Service of the fence's name when FromService, else those
	// whose label (see FenceSettings.WorkloadLabel) has the fence's name.
	Selector    map[string]string
	FromService bool
	// Hosts, sorted, Namespaces and Labels are what is listed: Labels by all labels of any one.
	Hosts      []FenceHost
	Namespaces []string
	Labels     []map[string]string
}

// FenceHost is a listed host.
type FenceHost struct {
	Host string
	// Until is the Unix time in seconds at which it is listed no more; 0: it stays.
	Until int64
}

// Modules of Slime, by kind.
const (
	ModuleLazyload = "lazyload"
	ModuleLimiter  = "limiter"
	ModulePlugin   = "plugin"
	ModuleRegistry = "meshregistry"
)

// Boot is which of Slime's modules are on (SlimeBoot).
type Boot struct {
	Meta `json:"meta"`
	// Modules are those it names, by kind; true: on.
	Modules map[string]bool
	// Fences are the settings of the module lazyload; nil: it names none.
	Fences *FenceSettings
	// Metrics are what the module limiter asks for all SmartLimiters that name nothing; nil: nothing.
	Metrics *PrometheusMetrics
}

// FenceSettings are what holds for all fences.
type FenceSettings struct {
	// WorkloadLabel is the label whose value a fence is named after; "": "app".
	WorkloadLabel string
	// Auto: workloads are fenced without a ServiceFence: those of services that say so, and, when Default, of all
	// that do not say otherwise. Namespaces, when not nil, are where; Except where not.
	Auto, Default bool
	Namespaces    []string
	Except        []string
	// Hosts may be asked for within every fence. Aliases are more names of what fences list.
	Hosts   []string
	Aliases []DomainAlias
}

// DomainAlias makes more names of a host: Templates may use Pattern's named groups as {{.name}}.
type DomainAlias struct {
	Pattern   string
	Templates []string
}

// ModuleOn tells whether a module of Slime's may have an effect: unless a SlimeBoot names it, and none has it on.
func ModuleOn(boots []*Boot, kind string) bool {
	named := false
	for _, b := range boots {
		if on, ok := b.Modules[kind]; ok {
			if on {
				return true
			}
			named = true
		}
	}
	return !named
}

// MetricsOf is whom to ask for a SmartLimiter: its own, else those of the first SlimeBoot that has any; nil: nobody.
func MetricsOf(boots []*Boot, l *SmartLimiter) *PrometheusMetrics {
	if l.Prometheus != nil {
		return l.Prometheus
	}
	for _, b := range boots {
		if b.Metrics != nil && b.Modules[ModuleLimiter] {
			return b.Metrics
		}
	}
	return nil
}

// FenceSettingsOf are those of the first SlimeBoot that has any; never nil.
func FenceSettingsOf(boots []*Boot) *FenceSettings {
	for _, b := range boots {
		if b.Fences != nil && b.Modules[ModuleLazyload] {
			return b.Fences
		}
	}
	return &FenceSettings{}
}

// Covers tells whether workloads of a namespace may be fenced without a ServiceFence.
func (s *FenceSettings) Covers(namespace string) bool {
	return s.Auto && (s.Namespaces == nil || slices.Contains(s.Namespaces, namespace)) && !slices.Contains(s.Except, namespace)
}

// Marks by which a Service or Namespace says whether its workloads are fenced: Slime's label and Aeraki's annotation.
const (
	LabelFenced       = "slime.io/serviceFenced"
	AnnotationLazyXDS = "lazy-xds"
)

// Fenced tells what an object says of being fenced; ok is false when it says nothing.
func (m *Meta) Fenced() (fenced, ok bool) {
	for _, v := range []string{m.Labels[LabelFenced], m.Annotations[LabelFenced], m.Annotations[AnnotationLazyXDS], m.Labels[AnnotationLazyXDS]} {
		switch strings.ToLower(v) {
		case "true":
			return true, true
		case "false":
			return false, true
		}
	}
	return false, false
}

// NextDeadline is when the first host that a fence lists for a time is listed no more, in Unix seconds; 0: never.
func NextDeadline(list []*Fence, now int64) (next int64) {
	for _, f := range list {
		for _, h := range f.Hosts {
			if h.Until > now && (next == 0 || h.Until < next) {
				next = h.Until
			}
		}
	}
	return next
}
