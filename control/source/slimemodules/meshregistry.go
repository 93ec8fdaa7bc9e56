package slimemodules

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	api "github.com/weftmesh/weft/api/slime/v1alpha1"
	weftapi "github.com/weftmesh/weft/api/weft/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/weft"
)

// registryArgs are the settings of a source in general.LEGACY of the module meshregistry. Keys are matched whatever their case, as Slime does.
type registryArgs struct {
	Enabled bool
	Server  registryServer `json:"-"`
	// Servers are several of a kind.
	Servers       []registryServer
	RefreshPeriod string

	SvcProtocol           string
	SvcPort               int32
	InstancePortAsSvcPort bool
	DefaultServiceNs      string

	EndpointSelectors         []weftapi.EndpointSelector
	ServicedEndpointSelectors map[string][]weftapi.EndpointSelector
	ServiceNaming             *struct {
		Sep   string
		Items []struct{ Kind, Value string }
	}
	ServiceHostAliases     []weftapi.HostAlias
	InstanceMetaRelabel    *weftapi.RelabelItems
	ServiceAdditionalMetas map[string]any
	EnableEmptyProtection  *bool

	RegistryRootNode, HostSuffix, DomSuffix, AppSuffix string
	NsHost, K8SDomainSuffix                            bool
}

// registryServer is a server; of a single one its settings stand beside the others.
type registryServer struct {
	RegistryID                           string
	Address                              []string
	Namespace, Group, Username, Password string
	AllNamespaces                        bool
	NamespaceGroups                      []string
}

// registryKeys are the keys that are read of each source, in lower case, and unneededOfRegistries those that are not needed, and why.
var (
	registryKeys = []string{
		"enabled", "servers", "registryid", "address", "namespace", "group", "username", "password", "namespacegroups", "allnamespaces", "refreshperiod", "svcprotocol", "svcport",
		"instanceportassvcport", "defaultservicens", "endpointselectors", "servicedendpointselectors", "servicenaming", "servicehostaliases", "instancemetarelabel",
		"serviceadditionalmetas", "enableemptyprotection", "registryrootnode", "hostsuffix", "domsuffix", "appsuffix", "nshost", "k8sdomainsuffix",
	}
	unneededOfRegistries = map[string]string{
		"mode":                         "registries that can tell are watched",
		"waittime":                     "nothing waits for a registry: what it said last stands",
		"watchingworkercount":          "watches need no workers",
		"watchingresynccron":           "watches are complete",
		"watchingdebounce":             "the control plane debounces",
		"connectiontimeout":            "a connection is tried for 10 s, and again",
		"resourcens":                   "no resources are written",
		"mockservicename":              "listeners stay without it",
		"mockserviceentryname":         "listeners stay without it",
		"mockservicemergeinstanceport": "listeners stay without it",
		"mockservicemergeserviceport":  "listeners stay without it",
		"consumerpath":                 "Dubbo's consumers need no Sidecars: proxies get what they use",
		"enabledubbosidecar":           "Dubbo's consumers need no Sidecars: proxies get what they use",
		"dubboworkloadapplabel":        "Dubbo's consumers need no Sidecars: proxies get what they use",
		"trimdubboremovedepinterval":   "Dubbo's consumers need no Sidecars: proxies get what they use",
		"selfconsume":                  "Dubbo's consumers need no Sidecars: proxies get what they use",
		"ignorelabel":                  "pid, timestamp, dubbo and methods are no labels; others do no harm",
		"genericprotocol":              "SvcProtocol says it",
		"gatewaymodel":                 "Slime has deprecated it",
		"labelpatch":                   "Slime has deprecated it",
		"namewithns":                   "names of objects are the hosts",
		"nsfnacos":                     "Slime has deprecated it",
		"nsfeureka":                    "Slime has deprecated it",
	}
)

// k8sNamespace is the metadata by which instances say their namespace, and k8sDomain what K8SDomainSuffix appends.
const (
	k8sNamespace = "k8sNs"
	k8sDomain    = ".svc.cluster.local"
)

// registries reads the module meshregistry: each server of each source that is enabled becomes a Registry.
func (b *boot) registries(at string, m *api.Module) []model.Object {
	general, at := m.General, at+".general"
	sources, ok := general["LEGACY"].(map[string]any)
	if !ok {
		b.d.Warn(document.CodeMissing, at+".LEGACY", "write e.g. LEGACY: {ZookeeperSource: {Enabled: true, Address: [\"zk:2181\"]}}, or Registry objects", "is missing: the module follows no registry")
		return nil
	}
	at += ".LEGACY"
	var out []model.Object
	for _, key := range slices.Sorted(maps.Keys(sources)) {
		field := document.Join(at, key)
		kind := map[string]string{"zookeepersource": model.ZooKeeper, "nacossource": model.Nacos, "eurekasource": model.Eureka}[strings.ToLower(key)]
		switch {
		case kind != "":
			out = append(out, b.registriesOf(field, kind, sources[key])...)
		case strings.EqualFold(key, "Mcp"):
			b.d.Info(CodeNotNeeded, field, "remove it", "is not needed: the mesh reads the registries itself (weft control --serve-mcp offers them to others)")
		case strings.EqualFold(key, "K8SSource"):
			b.d.Info(CodeNotNeeded, field, "remove it", "is not needed: weft control reads Kubernetes itself (--config kubernetes://)")
		default:
			b.d.Warn(document.CodeIgnored, field, "", "is not carried out by Weft")
		}
	}
	return out
}

func (b *boot) registriesOf(at, kind string, raw any) []model.Object {
	settings, ok := raw.(map[string]any)
	if !ok {
		b.d.Invalid(at, "write e.g. {Enabled: true, Address: [...]}", "is not a map")
		return nil
	}
	var args registryArgs
	text, err := json.Marshal(settings)
	if err == nil {
		err = json.Unmarshal(text, &args)
	}
	if err == nil {
		err = json.Unmarshal(text, &args.Server)
	}
	if err != nil {
		b.d.Invalid(at, "", "cannot be read: %v", err)
		return nil
	}
	if !args.Enabled {
		return nil
	}
	lower, unneeded := map[string]any{}, map[string]string{}
	for key := range settings {
		lower[key] = nil
		if why := unneededOfRegistries[strings.ToLower(key)]; why != "" {
			unneeded[key] = why
		}
	}
	b.useless(at, lower, unneeded, slices.DeleteFunc(slices.Collect(maps.Keys(lower)), func(k string) bool { return !slices.Contains(registryKeys, strings.ToLower(k)) }))
	servers := args.Servers
	single := len(servers) == 0
	if single {
		servers = []registryServer{args.Server}
	}
	var out []model.Object
	for i := range servers {
		field := at
		if !single {
			field = document.At(at+".Servers", i)
		}
		for _, spec := range b.spec(at, kind, &args, &servers[i], field) {
			name := strings.Join([]string{b.d.Key.Name, model.ModuleRegistry, kind}, ".")
			if n := len(out); n > 0 {
				name += "-" + strconv.Itoa(n+1)
			}
			meta := b.d.Meta
			meta.Key = model.Key{Kind: model.KindRegistry, Namespace: b.d.Key.Namespace, Name: name}
			meta.Hash = document.Mix(meta.Hash, name)
			out = append(out, weft.NewRegistry(b.d, meta, spec, weft.Fields{At: at, Names: slimeNames(field, at)}))
		}
	}
	return out
}

// slimeNames are Slime's names of a Registry's fields; those of a server that is one of several stand within it.
func slimeNames(server, at string) map[string]string {
	within := strings.TrimPrefix(strings.TrimPrefix(server, at), ".")
	if within != "" {
		within += "."
	}
	return map[string]string{
		"addresses": within + "Address", "groups": within + "Group", "registryNamespace": within + "Namespace", "refreshPeriod": "RefreshPeriod", "root": "RegistryRootNode",
		"protocol": "SvcProtocol", "port": "SvcPort", "namespace": "DefaultServiceNs", "hostSuffix": "HostSuffix", "naming": "ServiceNaming", "endpointSelectors": "EndpointSelectors",
		"servicedEndpointSelectors": "ServicedEndpointSelectors", "serviceHostAliases": "ServiceHostAliases", "instanceMetaRelabel": "InstanceMetaRelabel",
	}
}

// spec makes the Registries of a server: one, or of Nacos one for each namespace that is named.
func (b *boot) spec(at, kind string, args *registryArgs, server *registryServer, field string) []*weftapi.RegistrySpec {
	spec := weftapi.RegistrySpec{
		Type: kind, Addresses: server.Address, Username: server.Username, Password: server.Password, RefreshPeriod: args.RefreshPeriod, Root: args.RegistryRootNode,
		Namespace: args.DefaultServiceNs, Protocol: args.SvcProtocol, Port: args.SvcPort, InstancePorts: args.InstancePortAsSvcPort, HostSuffix: args.HostSuffix + args.DomSuffix + args.AppSuffix,
		EndpointSelectors: args.EndpointSelectors, ServicedEndpointSelectors: args.ServicedEndpointSelectors, ServiceHostAliases: args.ServiceHostAliases,
		InstanceMetaRelabel: args.InstanceMetaRelabel, NamespaceKey: k8sNamespace,
	}
	if p := args.EnableEmptyProtection; p != nil && !*p {
		spec.Retain = "0s"
	}
	if args.K8SDomainSuffix {
		spec.HostSuffix += k8sDomain
	}
	for _, key := range slices.Sorted(maps.Keys(args.ServiceAdditionalMetas)) {
		text, ok := args.ServiceAdditionalMetas[key].(string)
		if !ok {
			b.d.Warn(document.CodeIgnored, document.Join(at+".ServiceAdditionalMetas", key), "write a text", "is not a text: it has no effect")
			continue
		}
		if spec.ServiceLabels == nil {
			spec.ServiceLabels = map[string]string{}
		}
		spec.ServiceLabels[key] = text
	}
	b.naming(at, args, &spec)
	if kind != model.Nacos {
		return []*weftapi.RegistrySpec{&spec}
	}
	spec.RegistryNamespace = server.Namespace
	if server.Group != "" {
		spec.Groups = []string{server.Group}
	}
	if server.AllNamespaces && len(server.NamespaceGroups) == 0 {
		b.d.Warn(document.CodeIgnored, field+".AllNamespaces", "name them: NamespaceGroups: [\"NAMESPACE:GROUP,GROUP\"]", "is not carried out by Weft: only namespace %q is read", server.Namespace)
	}
	if len(server.NamespaceGroups) == 0 {
		return []*weftapi.RegistrySpec{&spec}
	}
	var out []*weftapi.RegistrySpec
	for _, text := range server.NamespaceGroups {
		one := spec
		ns, groups, _ := strings.Cut(text, ":")
		one.RegistryNamespace, one.Groups = ns, commas(groups)
		out = append(out, &one)
	}
	return out
}

// naming reads how hosts are made. NsHost puts the namespace behind the service.
func (b *boot) naming(at string, args *registryArgs, spec *weftapi.RegistrySpec) {
	if n := args.ServiceNaming; n != nil {
		spec.Naming = &weftapi.Naming{Separator: n.Sep}
		for i, item := range n.Items {
			part := weftapi.NameItem{Kind: item.Kind, Value: item.Value}
			switch item.Kind {
			case "$":
				part = weftapi.NameItem{Kind: "service"}
				if v := strings.TrimPrefix(item.Value, "$"); v != "" && v != "service" {
					b.d.Unsupported(document.At(at+".ServiceNaming.Items", i)+".Value", "write service", "%q of an instance is no part of names", item.Value)
				}
			case "meta":
				part.Kind = "metadata"
			}
			spec.Naming.Items = append(spec.Naming.Items, part)
		}
		return
	}
	if args.NsHost || args.K8SDomainSuffix {
		spec.Naming = &weftapi.Naming{Items: []weftapi.NameItem{{Kind: "service"}, {Kind: "namespace"}}}
	}
}
