package model

import (
	"fmt"
	"testing"
)

func TestProxySettings(t *testing.T) {
	config := func(namespace string, selector map[string]string, concurrency int32, env map[string]string) *ProxyConfig {
		c := &ProxyConfig{Meta: Meta{Key: Key{Kind: KindProxyConfig, Namespace: namespace, Name: "c"}}, Selector: selector, Settings: ProxySettings{Env: env}}
		if concurrency >= 0 {
			c.Settings.Concurrency = &concurrency
		}
		return c
	}
	m := DefaultMesh()
	m.Proxy.Env = map[string]string{"A": "mesh", "ISTIO_META_M": "mesh"}
	all := []*ProxyConfig{
		config("istio-system", nil, 1, map[string]string{"B": "root", "A": "root"}),
		config("shop", nil, 2, map[string]string{"C": "namespace"}),
		config("shop", nil, 9, nil), // not the oldest
		config("shop", map[string]string{"app": "web"}, 0, map[string]string{"D": "selected"}),
		config("istio-system", map[string]string{"app": "web"}, 8, nil), // selects only there
	}
	own := &ProxySettings{Concurrency: new(int32(3)), Env: map[string]string{"C": "own", "D": "own"}}
	for _, tc := range []struct {
		namespace, app string
		own            *ProxySettings
		want           string
	}{
		{"other", "x", nil, "1 map[A:root B:root ISTIO_META_M:mesh]"},
		{"shop", "x", nil, "2 map[A:root B:root C:namespace ISTIO_META_M:mesh]"},
		{"shop", "x", own, "3 map[A:root B:root C:own D:own ISTIO_META_M:mesh]"},
		{"shop", "web", own, "0 map[A:root B:root C:own D:selected ISTIO_META_M:mesh]"},
	} {
		got := ProxySettingsOf(m, all, tc.namespace, map[string]string{"app": tc.app}, tc.own)
		if s := fmt.Sprint(*got.Concurrency, " ", got.Env); s != tc.want {
			t.Errorf("%+v: %s", tc, s)
		}
		if s := fmt.Sprint(got.Metadata()); s != "map[M:mesh]" {
			t.Errorf("metadata %s", s)
		}
	}
	if fmt.Sprint(m.Proxy.Env) != "map[A:mesh ISTIO_META_M:mesh]" || fmt.Sprint(own.Env) != "map[C:own D:own]" {
		t.Error("what was given has changed")
	}
}
