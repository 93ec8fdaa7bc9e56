package slimemodules

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	api "github.com/weftmesh/weft/api/slime/v1alpha1"
	limits "github.com/weftmesh/weft/api/slime/v1alpha2"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/slime"
)

// known are the modules of Slime, and those of Weft's parts that do their work.
var known = []string{model.ModuleLazyload, model.ModuleLimiter, model.ModulePlugin, model.ModuleRegistry, "bundle", "example"}

func convertBoot(d *document.Document) []model.Object {
	spec, err := document.Into[api.SlimeBootSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	b := &boot{d: d, out: &model.Boot{Meta: d.Meta, Modules: map[string]bool{}}, bundled: map[string]bool{}}
	for i := range spec.Module {
		b.module(document.At("spec.module", i), &spec.Module[i])
	}
	for kind, on := range b.bundled {
		// An item of a bundle is off with its bundle; one that is not described is as the bundle is.
		if was, named := b.out.Modules[kind]; !named || was && !on {
			b.out.Modules[kind] = on
		}
	}
	if !b.out.Modules[model.ModuleRegistry] {
		b.followed = nil // its bundle is off
	}
	if len(spec.Module) == 0 {
		d.Warn(document.CodeMissing, "spec.module", "name a module, e.g. {name: lazyload, kind: lazyload, enable: true}", "is missing: the object has no effect")
	}
	if c := spec.Component; c != nil && c.GlobalSidecar != nil && c.GlobalSidecar["enable"] != false {
		d.Info(CodeNotNeeded, "spec.component.globalSidecar", "remove it",
			"is not needed, and none runs: proxies ask the control plane for what they do not have yet while the first request waits, so that no request takes another hop")
	}
	return append([]model.Object{b.out}, b.followed...)
}

// boot is a SlimeBoot in the making.
type boot struct {
	d       *document.Document
	out     *model.Boot
	bundled map[string]bool // by kind: whether its bundle is on
	// followed are the registries of the module meshregistry.
	followed []model.Object
}

func (b *boot) module(at string, m *api.Module) {
	kind := m.Kind
	if kind == "" {
		kind = m.Name
	}
	switch {
	case kind == "":
		b.d.Error(document.CodeMissing, at+".kind", "write one of "+strings.Join(known, ", "), "is missing")
		return
	case !slices.Contains(known, kind) && m.Bundle == nil:
		b.d.Warn(document.CodeIgnored, at+".kind", document.Suggest(kind, known), "%q is no module of Slime's that Weft knows: it has no effect", kind)
		return
	}
	if m.Mode != "" && m.Mode != "BundleItem" {
		b.d.Invalid(at+".mode", "write BundleItem, or nothing", "%q is no mode of a module", m.Mode)
	}
	if m.Bundle != nil {
		for _, item := range m.Bundle.Modules {
			k := item.Kind
			if k == "" {
				k = item.Name
			}
			b.bundled[k] = m.Enable
		}
		return
	}
	if _, twice := b.out.Modules[kind]; twice {
		b.d.Warn(document.CodeIgnored, at, "keep one", "module %s is named twice: the first counts", kind)
		return
	}
	b.out.Modules[kind] = m.Enable
	switch {
	case kind == model.ModuleLimiter:
		b.limiter(at, m)
	case kind == model.ModuleRegistry && m.Enable:
		b.followed = b.registries(at, m)
	}
	if kind == model.ModuleLazyload {
		field, general := at+".general", m.General
		if m.Fence != nil {
			field, general = at+".fence", m.Fence
		}
		b.out.Fences = b.fences(field, general)
		if s, ok := m.Global["service"].(string); ok {
			b.out.Fences.WorkloadLabel = s
		}
	}
}

// unneeded are settings of how Slime makes limits, which need nothing of the kind here.
var unneeded = map[string]string{
	"backend":                           "the proxies limit by themselves",
	"refresh":                           "conditions are looked at when a number changes",
	"disableGlobalRateLimit":            "global limits cost nothing where there are none",
	"disableAdaptive":                   "conditions cost nothing where there are none",
	"enableServiceEntry":                "hosts of ServiceEntries may be named",
	"disableInsertLocalRateLimit":       "no filter is inserted",
	"disableInsertGlobalRateLimit":      "no filter is inserted",
	"rlsConfigMap":                      "the control plane counts global limits",
	"rls":                               "the control plane counts global limits; a SmartLimiter may name another service",
	"domain":                            "the control plane counts global limits",
	"proxyVersion":                      "every proxy can limit",
	"enableRatelimitPlaceholderInRoute": "no filter is inserted",
}

// limiter reads the settings of the module limiter.
func (b *boot) limiter(at string, m *api.Module) {
	field, general := at+".general", m.General
	if m.Limiter != nil {
		field, general = at+".limiter", m.Limiter
	}
	b.useless(field, general, unneeded, nil)
	if m.Metric == nil {
		return
	}
	metric, err := document.Into[limits.Metric](m.Metric)
	if err != nil {
		b.d.Invalid(at+".metric", "", "cannot be read: %v", err)
		return
	}
	b.out.Metrics = slime.Prometheus(b.d, at+".metric.prometheus", metric.Prometheus)
}

// useless says which settings have no use, and which are not carried out.
func (b *boot) useless(at string, general map[string]any, needless map[string]string, read []string) {
	var found []string
	for _, key := range slices.Sorted(maps.Keys(general)) {
		switch {
		case needless[key] != "":
			found = append(found, fmt.Sprintf("%s (%s)", key, needless[key]))
		case !slices.Contains(read, key):
			b.d.Warn(document.CodeIgnored, document.Join(at, key), "", "is not carried out by Weft")
		}
	}
	if len(found) > 0 {
		b.d.Info(CodeNotNeeded, at, "remove what is named", "holds what has no use here: %s", strings.Join(found, ", "))
	}
}

// lazyload is what the module's configuration has that matters here.
type lazyload struct {
	AutoFence          bool     `json:"autoFence"`
	DefaultFence       bool     `json:"defaultFence"`
	Namespace          []string `json:"namespace"`
	WhiteNamespaceList string   `json:"whiteNamespaceList"`
	BlackNamespaceList string   `json:"blackNamespaceList"`
	StableHost         []string `json:"stableHost"`
	DomainAliases      []struct {
		Pattern   string   `json:"pattern"`
		Templates []string `json:"templates"`
	} `json:"domainAliases"`
}

// needless are settings of how Slime does what proxies on demand do by themselves, and why they have no use.
var needless = map[string]string{
	"wormholePort":           "every port is fenced, of whatever protocol",
	"autoPort":               "every port is fenced, of whatever protocol",
	"cleanupWormholePort":    "every port is fenced, of whatever protocol",
	"supportH2":              "HTTP/2, gRPC and TCP are fenced as HTTP is",
	"globalSidecarMode":      "there is no global sidecar",
	"clusterGsNamespace":     "there is no global sidecar",
	"metricSourceType":       "the proxies themselves say what they use",
	"addEnvHeaderViaLua":     "no header is added",
	"proxyVersion":           "every proxy can ask",
	"disableIpv4Passthrough": "Slime passes it over too",
	"render":                 "it is Slime's own",
	"passthroughByDefault":   "what the mesh does not know goes as its outboundTrafficPolicy says",
	"enableShortDomain":      "short names are known",
}

// read are the keys that lazyload reads.
var read = []string{"autoFence", "defaultFence", "namespace", "whiteNamespaceList", "blackNamespaceList", "stableHost", "domainAliases"}

func (b *boot) fences(at string, general map[string]any) *model.FenceSettings {
	var conf lazyload
	raw, err := json.Marshal(general)
	if err == nil {
		err = json.Unmarshal(raw, &conf)
	}
	if err != nil {
		b.d.Invalid(at, "", "cannot be read: %v", err)
	}
	b.useless(at, general, needless, read)
	out := &model.FenceSettings{Auto: conf.AutoFence, Default: conf.DefaultFence, Namespaces: conf.Namespace, Hosts: conf.StableHost}
	if list := commas(conf.WhiteNamespaceList); list != nil {
		out.Namespaces = append(out.Namespaces, list...)
	}
	out.Except = commas(conf.BlackNamespaceList)
	for i, h := range out.Hosts {
		if ns, rest, ok := strings.Cut(h, "/"); !ok || rest != "*" || !document.IsLabel(ns) {
			b.d.Host(document.At(at+".stableHost", i), h, true)
		}
	}
	for i, a := range conf.DomainAliases {
		b.d.Regex(document.At(at+".domainAliases", i)+".pattern", a.Pattern)
		out.Aliases = append(out.Aliases, model.DomainAlias{Pattern: a.Pattern, Templates: a.Templates})
	}
	return out
}

func commas(s string) (out []string) {
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
