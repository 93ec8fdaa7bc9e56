package dubbo

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/source/registry"
)

// Override is a configurator as far as it is about providers: parameters that count in place of their own.
type Override struct {
	// Addresses are "HOST", "HOST:PORT" or "HOST:*"; none: all.
	Addresses []string
	// Application is whose instances are meant; "": all.
	Application string
	// Service is the interface that is meant, with Group and Version where they are named; "": every one.
	Service registry.Dubbo
	// Parameters by name.
	Parameters map[string]string
}

// anyAddress stands for all of them.
const anyAddress = "0.0.0.0"

// selecting are parameters that say whom a configurator is for; the others are values.
var selecting = []string{"category", "dynamic", "enabled", "interface", "group", "version", "application", "side", "configVersion", "compatible_config", "rule"}

// Configurator reads one that is a node below an interface: "override://HOST:PORT/INTERFACE?category=configurators&weight=50". ok tells whether it
// is in force, and about providers.
func Configurator(node string) (o Override, ok bool) {
	text, err := url.QueryUnescape(node)
	if err != nil {
		return o, false
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "override" {
		return o, false
	}
	q := u.Query()
	if q.Get("enabled") == "false" || q.Get("side") == "consumer" {
		return o, false
	}
	o.Service = registry.Dubbo{Interface: strings.TrimPrefix(u.Path, "/"), Group: q.Get("group"), Version: q.Get("version")}
	if a := q.Get("application"); a != "*" {
		o.Application = a
	}
	if u.Hostname() != anyAddress {
		o.Addresses = []string{u.Host}
	}
	o.Parameters = map[string]string{}
	for k := range q {
		if !slices.Contains(selecting, k) {
			o.Parameters[k] = q.Get(k)
		}
	}
	return o, true
}

// Rule reads the rule of the configuration center for a key, "APPLICATION" or "INTERFACE", "INTERFACE:VERSION:GROUP". A rule that cannot be read is an
// error; one that is not enabled has no overrides.
func Rule(key string, content []byte) ([]Override, error) {
	var rule struct {
		Scope   string
		Key     string
		Enabled *bool
		Configs []struct {
			Side       string
			Enabled    *bool
			Addresses  []string
			Services   []string
			Parameters map[string]any
		}
	}
	if err := yaml.Unmarshal(content, &rule); err != nil {
		return nil, fmt.Errorf("the configurators of %s: %w", key, err)
	}
	if rule.Enabled != nil && !*rule.Enabled {
		return nil, nil
	}
	var out []Override
	for _, c := range rule.Configs {
		if c.Enabled != nil && !*c.Enabled || c.Side == "consumer" {
			continue
		}
		o := Override{Parameters: map[string]string{}}
		for k, v := range c.Parameters {
			o.Parameters[k] = fmt.Sprint(v)
		}
		if !slices.ContainsFunc(c.Addresses, func(a string) bool { return strings.HasPrefix(a, anyAddress) }) {
			o.Addresses = c.Addresses
		}
		services := []string{key}
		if rule.Scope == "application" {
			o.Application = key
			if services = c.Services; len(services) == 0 || slices.Contains(services, "*") {
				services = []string{""}
			}
		}
		for _, s := range services {
			one := o
			one.Service = serviceOf(s)
			out = append(out, one)
		}
	}
	return out, nil
}

// serviceOf reads "INTERFACE:VERSION:GROUP", or Dubbo's other spelling "GROUP/INTERFACE:VERSION".
func serviceOf(text string) (d registry.Dubbo) {
	if group, rest, ok := strings.Cut(text, "/"); ok {
		d.Group, text = group, rest
	}
	p := append(strings.Split(text, ":"), "", "")
	d.Interface, d.Version = p[0], p[1]
	if p[2] != "" {
		d.Group = p[2]
	}
	return d
}

// about tells whether an override is about an instance of a service.
func (o *Override) about(id registry.Dubbo, in registry.Instance) bool {
	s := o.Service
	if s.Interface != "" && s.Interface != id.Interface || s.Group != "" && s.Group != "*" && s.Group != id.Group || s.Version != "" && s.Version != "*" && s.Version != id.Version {
		return false
	}
	if o.Application != "" && in.Labels["application"] != o.Application {
		return false
	}
	return len(o.Addresses) == 0 || slices.ContainsFunc(o.Addresses, func(a string) bool {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			host, port = a, "*"
		}
		return host == in.Address && (port == "*" || port == "0" || port == strconv.Itoa(int(in.Port)))
	})
}

// Apply gives an instance of a service the parameters of the overrides that are about it; later ones count. The instance itself is not changed.
func Apply(list []Override, id registry.Dubbo, in registry.Instance) registry.Instance {
	var labels map[string]string
	for i := range list {
		if !list[i].about(id, in) {
			continue
		}
		if labels == nil {
			labels = maps.Clone(in.Labels)
		}
		maps.Copy(labels, list[i].Parameters)
	}
	if labels == nil {
		return in
	}
	out := instance(in.Address, in.Port, in.Labels["protocol"], labels)
	out.Locality = in.Locality
	return out
}
