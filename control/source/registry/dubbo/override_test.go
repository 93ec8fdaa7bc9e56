package dubbo

import (
	"net/url"
	"testing"

	"github.com/weftmesh/weft/control/source/registry"
)

func TestOverrides(t *testing.T) {
	cart := registry.Dubbo{Interface: "org.x.Cart", Group: "g", Version: "1.0.0"}
	node := func(text string) []Override {
		o, ok := Configurator(url.QueryEscape(text))
		if !ok {
			return nil
		}
		return []Override{o}
	}
	rule := func(key, text string) []Override {
		list, err := Rule(key, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for _, c := range []struct {
		name   string
		list   []Override
		weight uint32
		off    bool
		tag    string
	}{
		{"none", nil, 100, false, ""},
		{"everybody's weight", node("override://0.0.0.0/org.x.Cart?category=configurators&dynamic=false&enabled=true&weight=50"), 50, false, ""},
		{"one's", node("override://10.0.0.1:20880/org.x.Cart?category=configurators&weight=50&tag=gray"), 50, false, "gray"},
		{"one's of any port", node("override://10.0.0.1/org.x.Cart?weight=50"), 50, false, ""},
		{"another's", node("override://10.0.0.1:20881/org.x.Cart?weight=50"), 100, false, ""},
		{"another version", node("override://0.0.0.0/org.x.Cart?version=2.0.0&weight=50"), 100, false, ""},
		{"another interface", node("override://0.0.0.0/org.x.Other?weight=50"), 100, false, ""},
		{"its application", node("override://0.0.0.0/org.x.Cart?application=shop&disabled=true"), 100, true, ""},
		{"another application", node("override://0.0.0.0/org.x.Cart?application=other&disabled=true"), 100, false, ""},
		{"not in force", node("override://0.0.0.0/org.x.Cart?enabled=false&weight=50"), 100, false, ""},
		{"consumers", node("override://0.0.0.0/org.x.Cart?side=consumer&weight=50"), 100, false, ""},
		{"no override", node("absent://0.0.0.0/org.x.Cart?weight=50"), 100, false, ""},
		{"a service", rule("org.x.Cart:1.0.0:g", "{scope: service, enabled: true, configs: [{addresses: [\"0.0.0.0:*\"], side: provider, parameters: {weight: 50}}]}"), 50, false, ""},
		{"a service in the other spelling", rule("g/org.x.Cart:1.0.0", "configs: [{addresses: [10.0.0.1:20880], parameters: {weight: 0}}]"), 0, true, ""},
		{"a service of all versions", rule("org.x.Cart::", "configs: [{parameters: {tag: gray}}]"), 100, false, "gray"},
		{"an application", rule("shop", "{scope: application, configs: [{services: [\"org.x.Cart\"], parameters: {weight: 50}}]}"), 50, false, ""},
		{"an application's other service", rule("shop", "{scope: application, configs: [{services: [\"org.x.Other\"], parameters: {weight: 50}}]}"), 100, false, ""},
		{"an application, everything", rule("shop", "{scope: application, configs: [{services: [\"*\"], addresses: [10.0.0.2, 10.0.0.1], parameters: {weight: 50}}]}"), 50, false, ""},
		{"switched off", rule("org.x.Cart::", "{enabled: false, configs: [{parameters: {weight: 50}}]}"), 100, false, ""},
		{"the last counts", append(rule("org.x.Cart::", "configs: [{parameters: {weight: 50}}, {enabled: false, parameters: {weight: 9}}]"), node("override://0.0.0.0/org.x.Cart?weight=70")...), 70, false, ""},
		{"nothing", rule("org.x.Cart::", ""), 100, false, ""},
	} {
		in := instance("10.0.0.1", 20880, "dubbo", map[string]string{"application": "shop", "weight": "100"})
		was := in.Labels["weight"]
		got := Apply(c.list, cart, in)
		if got.Weight != c.weight || got.Off != c.off || got.Labels["tag"] != c.tag || got.Protocol != in.Protocol {
			t.Errorf("%s: weight %d off %v tag %q, want %d %v %q", c.name, got.Weight, got.Off, got.Labels["tag"], c.weight, c.off, c.tag)
		}
		if in.Labels["weight"] != was {
			t.Errorf("%s: the instance itself has changed", c.name)
		}
	}
	if _, err := Rule("x", []byte("configs: 1")); err == nil {
		t.Error("a rule that cannot be read is no error")
	}
}

// FuzzOverrides: whatever is in a registry, reading it ends, and what is applied leaves the address.
func FuzzOverrides(f *testing.F) {
	f.Add(url.QueryEscape("override://10.0.0.1:20880/org.x.Cart?weight=50"), "configs: [{addresses: [10.0.0.1], parameters: {weight: 50}}]")
	f.Fuzz(func(t *testing.T, node, text string) {
		var list []Override
		if o, ok := Configurator(node); ok {
			list = append(list, o)
		}
		if more, err := Rule("org.x.Cart", []byte(text)); err == nil {
			list = append(list, more...)
		}
		in := instance("10.0.0.1", 20880, "dubbo", nil)
		if got := Apply(list, registry.Dubbo{Interface: "org.x.Cart"}, in); got.Address != in.Address || got.Port != in.Port {
			t.Errorf("%+v", got)
		}
	})
}
