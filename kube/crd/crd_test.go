package crd

import (
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/control/source/file"
)

func TestOf(t *testing.T) {
	list := Of(file.NewDecoder())
	var got []string
	for _, d := range list {
		got = append(got, d.Metadata.Name)
		storage := 0
		for _, v := range d.Spec.Versions {
			if v.Storage {
				storage++
			}
		}
		if storage != 1 {
			t.Errorf("%s: %d versions are stored", d.Metadata.Name, storage)
		}
	}
	for _, want := range []string{
		"virtualservices.networking.istio.io", "proxyconfigs.networking.istio.io", "authorizationpolicies.security.istio.io", "telemetries.telemetry.istio.io",
		"gatewayclasses.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io", "gateways.networking.istio.io", "metarouters.metaprotocol.aeraki.io",
		"smartlimiters.microservice.slime.io", "slimeboots.config.netease.com", "registries.weft.dev",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not among %s", want, strings.Join(got, " "))
		}
	}
	for _, not := range []string{"processes.weft.dev", "services.", "ingresses.networking.k8s.io"} {
		if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, not) }) {
			t.Errorf("%s has a definition", not)
		}
	}
	if text, err := YAML(list); err != nil || strings.Count(string(text), "\n---\n") != len(list)-1 {
		t.Errorf("%v: %d documents of %d", err, strings.Count(string(text), "\n---\n")+1, len(list))
	}
}
