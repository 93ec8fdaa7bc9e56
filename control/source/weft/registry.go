package weft

import (
	"maps"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	slimeapi "github.com/weftmesh/weft/api/slime/v1alpha1"
	api "github.com/weftmesh/weft/api/weft/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// registryFronts are the front ends of what says which registries are followed.
func registryFronts(b *document.Builder) []document.FrontEnd {
	return []document.FrontEnd{
		{
			Kind: string(model.KindRegistry), Group: api.Group, Versions: []string{api.Version},
			Shape: document.Spec(b.GoType(reflect.TypeFor[api.RegistrySpec]())), Convert: convertRegistry,
		},
		{
			Kind: string(model.KindRegistrySource), Group: slimeapi.RegistryGroup, Versions: []string{"v1alpha1"},
			Shape: document.Spec(b.GoType(reflect.TypeFor[slimeapi.RegistrySourceSpec]())), Convert: convertRegistrySource,
		},
	}
}

// Defaults of a Registry.
const (
	usualRefresh = 30 * time.Second
	usualRetain  = 24 * time.Hour
)

var etcdFormats = []string{"dubbo", "go-micro", "kratos", "weft"}

func convertRegistry(d *document.Document) []model.Object {
	spec, err := document.Into[api.RegistrySpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	return []model.Object{NewRegistry(d, d.Meta, &spec, Fields{At: "spec"})}
}

// Fields says where the fields of a RegistrySpec are written in a document, for what is said of them.
type Fields struct {
	// At is the field that holds them.
	At string
	// Names are those that are called otherwise there, by their names here.
	Names map[string]string
}

func (f Fields) at(name string) string {
	if other, ok := f.Names[name]; ok {
		name = other
	}
	return f.At + "." + name
}

// reading is a registry while it is read.
type reading struct {
	*document.Document
	Fields
	r    *model.Registry
	spec *api.RegistrySpec
}

// NewRegistry makes a registry of what a document says of one.
func NewRegistry(d *document.Document, meta model.Meta, spec *api.RegistrySpec, f Fields) *model.Registry {
	r := &model.Registry{
		Meta: meta, Type: spec.Type, Addresses: spec.Addresses, Username: spec.Username, Password: model.PrivateBytes(spec.Password), Token: model.PrivateBytes(spec.Token),
		Root: spec.Root, Datacenter: spec.Datacenter, Partition: spec.Partition, Scope: spec.RegistryNamespace, Groups: spec.Groups, Polling: spec.Mode == "poll",
		Refresh: duration(d, f.at("refreshPeriod"), spec.RefreshPeriod, usualRefresh), Retain: duration(d, f.at("retain"), spec.Retain, usualRetain),
		Interfaces: spec.Register != "application", Applications: spec.Register != "interface",
		Space: spec.Namespace, SpaceKey: spec.NamespaceKey, HostSuffix: strings.ToLower(spec.HostSuffix), MergeVersions: spec.MergeVersions,
		Priority: int(spec.Priority), Labels: spec.ServiceLabels,
	}
	if r.Space == "" {
		r.Space = meta.Key.Namespace
	}
	if spec.CredentialName != "" {
		r.Credential = meta.Key.Namespace + "/" + spec.CredentialName
	}
	if t := spec.TLS; t != nil {
		r.TLS = &model.RegistryTLS{ServerName: t.ServerName, SkipVerify: t.InsecureSkipVerify}
	}
	x := &reading{Document: d, Fields: f, r: r, spec: spec}
	x.place()
	x.useless()
	x.servicePorts()
	if n := spec.Services; n != nil {
		r.Include, r.Exclude = n.Include, n.Exclude
		patterns(d, f.at("services")+".include", n.Include)
		patterns(d, f.at("services")+".exclude", n.Exclude)
	}
	r.Selectors = selectors(d, f.at("endpointSelectors"), spec.EndpointSelectors)
	for _, name := range slices.Sorted(maps.Keys(spec.ServicedEndpointSelectors)) {
		if r.ByService == nil {
			r.ByService = map[string][]model.InstanceSelector{}
		}
		r.ByService[name] = selectors(d, document.Join(f.at("servicedEndpointSelectors"), name), spec.ServicedEndpointSelectors[name])
	}
	x.names()
	return r
}

// place reads where the registry is.
func (x *reading) place() {
	d, r, spec := x.Document, x.r, x.spec
	oneOf(d, x.at("type"), spec.Type, model.RegistryTypes, true)
	oneOf(d, x.at("mode"), spec.Mode, []string{"watch", "poll"}, false)
	oneOf(d, x.at("register"), spec.Register, []string{"interface", "application", "all"}, false)
	if len(spec.Addresses) == 0 {
		d.Error(document.CodeMissing, x.at("addresses"), "write e.g. [\"127.0.0.1:2181\"]", "is missing")
	}
	byURL := slices.Contains([]string{model.Consul, model.Nacos, model.Eureka}, spec.Type)
	for i, a := range spec.Addresses {
		at := document.At(x.at("addresses"), i)
		if byURL && !strings.Contains(a, "://") {
			a = "http://" + a
			r.Addresses = slices.Clone(r.Addresses)
			r.Addresses[i] = a
		}
		if !strings.Contains(a, "://") {
			a = "tcp://" + a
		}
		u, err := url.Parse(a)
		switch {
		case err != nil || u.Hostname() == "":
			d.Invalid(at, "write host:port", "%q is not an address", spec.Addresses[i])
		case !byURL && u.Port() == "":
			d.Invalid(at, "write host:port", "%q has no port", spec.Addresses[i])
		case byURL && u.Scheme != "http" && u.Scheme != "https":
			d.Invalid(at, "write http:// or https://", "%q is of a scheme that is not known", spec.Addresses[i])
		}
	}
	for i, f := range spec.Formats {
		oneOf(d, document.At(x.at("formats"), i), f, etcdFormats, true)
	}
	if spec.Type == model.Etcd && spec.Root != "" && len(spec.Formats) != 1 {
		d.Invalid(x.at("root"), "name the one format that is there in formats", "it is not said what is there")
	}
	r.Formats = spec.Formats
	if len(r.Formats) == 0 {
		r.Formats = etcdFormats
	}
}

// useless says which fields are not for registries of the type.
func (x *reading) useless() {
	spec := x.spec
	for _, use := range []struct {
		field string
		set   bool
		of    []string
	}{
		{"formats", len(spec.Formats) > 0, []string{model.Etcd}},
		{"register", spec.Register != "", []string{model.ZooKeeper}},
		{"mergeVersions", spec.MergeVersions, []string{model.ZooKeeper, model.Etcd, model.Nacos}},
		{"datacenter", spec.Datacenter != "", []string{model.Consul}},
		{"token", spec.Token != "", []string{model.Consul}},
		{"groups", len(spec.Groups) > 0, []string{model.Nacos}},
		{"partition", spec.Partition != "", []string{model.Consul}},
		{"registryNamespace", spec.RegistryNamespace != "", []string{model.Nacos, model.Consul}},
		{"mode", spec.Mode != "", []string{model.Nacos}},
		{"root", spec.Root != "", []string{model.ZooKeeper, model.Etcd}},
	} {
		if use.set && !slices.Contains(use.of, spec.Type) {
			x.Warn(document.CodeIgnored, x.at(use.field), "remove it", "has no effect: it is for the type %s", strings.Join(use.of, ", "))
		}
	}
}

// servicePorts reads which ports services have, and what they speak.
func (x *reading) servicePorts() {
	d, r, spec := x.Document, x.r, x.spec
	r.Protocol = model.HTTP
	if spec.Type == model.ZooKeeper {
		r.Protocol = model.MessagesOf("dubbo")
	}
	if spec.Protocol != "" {
		var ok bool
		if r.Protocol, ok = document.Protocol(spec.Protocol); !ok {
			d.Invalid(x.at("protocol"), document.Suggest(spec.Protocol, document.Protocols), "%q is not a protocol", spec.Protocol)
		}
	}
	if spec.Port < 0 || spec.Port > 65535 {
		d.Invalid(x.at("port"), "", "must be a port from 1 to 65535, got %d", spec.Port)
	}
	r.Port = uint16(spec.Port) //nolint:gosec // bounded above
	r.InstancePorts = spec.InstancePorts
	if spec.Priority < 0 {
		d.Invalid(x.at("priority"), "write 0 for the highest", "must not be negative, got %d", spec.Priority)
	}
}

// names reads how services and labels are called.
func (x *reading) names() {
	d, r, spec := x.Document, x.r, x.spec
	if r.HostSuffix != "" && !document.IsSubdomain("x"+r.HostSuffix) {
		d.Invalid(x.at("hostSuffix"), "write e.g. .zk", "%q cannot end a host name", r.HostSuffix)
	}
	if spec.Namespace != "" && !document.IsLabel(spec.Namespace) {
		d.Invalid(x.at("namespace"), "use lower-case letters, digits and '-'", "%q is not a namespace", spec.Namespace)
	}
	if n := spec.Naming; n != nil {
		r.Naming.Separator = n.Separator
		if n.Separator == "" {
			r.Naming.Separator = "."
		}
		for i, item := range n.Items {
			at := document.At(x.at("naming")+".items", i)
			oneOf(d, at+".kind", item.Kind, []string{"service", "metadata", "namespace", "static"}, true)
			if item.Value == "" && (item.Kind == "metadata" || item.Kind == "static") {
				d.Error(document.CodeMissing, at+".value", "write the key, or the text", "is missing")
			}
			r.Naming.Parts = append(r.Naming.Parts, model.NamePart{Kind: item.Kind, Value: item.Value})
		}
	}
	for i, a := range spec.ServiceHostAliases {
		if r.Aliases == nil {
			r.Aliases = map[string][]string{}
		}
		for j, h := range a.Aliases {
			d.Host(document.At(document.At(x.at("serviceHostAliases"), i)+".aliases", j), h, false)
			r.Aliases[a.Host] = append(r.Aliases[a.Host], strings.ToLower(h))
		}
	}
	if spec.InstanceMetaRelabel == nil {
		return
	}
	for i, item := range spec.InstanceMetaRelabel.Items {
		if item.Key == "" {
			d.Error(document.CodeMissing, document.At(x.at("instanceMetaRelabel")+".items", i)+".key", "name the metadata", "is missing")
		}
		to := item.TargetKey
		if to == "" {
			to = item.Key
		}
		r.Relabel = append(r.Relabel, model.Relabel{Key: item.Key, Target: to, Overwrite: item.Overwrite, Created: item.CreatedWithValue, Values: item.ValuesMapping})
	}
}

func selectors(d *document.Document, at string, list []api.EndpointSelector) []model.InstanceSelector {
	var out []model.InstanceSelector
	for i, s := range list {
		at := document.At(at, i)
		var x model.InstanceSelector
		if l := s.LabelSelector; l != nil {
			x.Labels = l.MatchLabels
			for j, e := range l.MatchExpressions {
				at := document.At(at+".labelSelector.matchExpressions", j)
				oneOf(d, at+".operator", e.Operator, []string{"In", "NotIn", "Exists", "DoesNotExist"}, true)
				if strings.HasSuffix(e.Operator, "In") != (len(e.Values) > 0) {
					d.Invalid(at+".values", "", "goes with In and NotIn, and only with these")
				}
				x.Expressions = append(x.Expressions, model.LabelExpression{Key: e.Key, Op: e.Operator, Values: e.Values})
			}
		}
		if r := s.ExcludeIPRanges; r != nil {
			for j, c := range slices.Concat(r.IPs, r.CIDRs) {
				field := document.At(at+".excludeIPRanges.ips", j)
				if j >= len(r.IPs) {
					field = document.At(at+".excludeIPRanges.cidrs", j-len(r.IPs))
				}
				if p := d.Prefix(field, c); p.IsValid() {
					x.Without = append(x.Without, p)
				}
			}
		}
		out = append(out, x)
	}
	return out
}

func patterns(d *document.Document, at string, list []string) {
	for i, p := range list {
		if _, err := path.Match(p, ""); err != nil {
			d.Invalid(document.At(at, i), "", "%q is not a pattern", p)
		}
	}
}

func oneOf(d *document.Document, at, v string, list []string, required bool) {
	switch {
	case v == "" && required:
		d.Error(document.CodeMissing, at, "write one of "+strings.Join(list, ", "), "is missing")
	case v != "" && !slices.Contains(list, v):
		d.Invalid(at, document.Suggest(v, list), "must be one of %s, got %q", strings.Join(list, ", "), v)
	}
}

func duration(d *document.Document, at, v string, usual time.Duration) time.Duration {
	if v == "" {
		return usual
	}
	out, err := time.ParseDuration(v)
	if err != nil || out < 0 {
		d.Invalid(at, "write e.g. 30s", "%q is not a duration", v)
	}
	return out
}

// convertRegistrySource reads Slime's.
func convertRegistrySource(d *document.Document) []model.Object {
	spec, err := document.Into[slimeapi.RegistrySourceSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	out := &model.RegistrySource{Meta: d.Meta, Abnormal: map[string][]string{}}
	z := spec.Zookeeper
	if z == nil {
		d.Warn(document.CodeMissing, "spec.zookeeper", "write availableInterfaces or abnormal addresses", "is missing: the object has no effect")
		return []model.Object{out}
	}
	for i, x := range z.AvailableInterfaces {
		if x.Interface == "" {
			d.Error(document.CodeMissing, document.At("spec.zookeeper.availableInterfaces", i)+".interface", "name the interface", "is missing")
		}
		out.Available = append(out.Available, x.Interface+":"+x.Group+":"+x.Version)
	}
	addresses := func(field, key string, list []string, to string) {
		for i, ip := range list {
			if _, err := netip.ParseAddr(ip); err != nil {
				d.Invalid(document.At(document.Join(field, key), i), "write an IP address", "%q is not an IP address", ip)
			}
			out.Abnormal[to] = append(out.Abnormal[to], ip)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(z.GlobalAbnormalInstanceIPs)) {
		addresses("spec.zookeeper.globalAbnormalInstanceIPs", k, z.GlobalAbnormalInstanceIPs[k], "")
	}
	for _, k := range slices.Sorted(maps.Keys(z.AbnormalInstanceIPs)) {
		addresses("spec.zookeeper.AbnormalInstanceIPs", k, z.AbnormalInstanceIPs[k], k)
	}
	for _, k := range slices.Sorted(maps.Keys(z.AbnormalInstanceIPsLower)) {
		addresses("spec.zookeeper.abnormalInstanceIPs", k, z.AbnormalInstanceIPsLower[k], k)
	}
	return []model.Object{out}
}
