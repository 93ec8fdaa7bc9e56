package config

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire"
)

const (
	discovering = `
name: l
address: {socket_address: {address: 127.0.0.1, port_value: 80}}
filter_chains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: s
      route_config: {name: r}
      http_filters:
      - name: f
        config_discovery: {config_source: {ads: {}, resource_api_version: V3}, type_urls: [type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault]}
      - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`
	aFault   = `{"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}`
	aDefault = "default_config: " + aFault + ", type_urls"
)

type nothing struct{}

func (nothing) New(filter.Stream) filter.HTTPFilter { return filter.PassThrough{} }

// discoveryRig knows the filter that the listener discovers.
func discoveryRig(t *testing.T) *rig {
	r := newRig(t)
	r.opt.Decoder.HTTPKinds = []filter.HTTPKind{{
		Name: "test", TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"},
		Parse: func(*filter.ParseContext, *anypb.Any) (filter.HTTPFactory, error) { return nothing{}, nil },
	}}
	r.start(t)
	r.OpenGate()
	return r
}

func TestListenerWaitsForExtensions(t *testing.T) {
	for _, tc := range []struct {
		name, listener string
		after          func(t *testing.T, r *rig)
		before         int // listeners that are live before
	}{
		{"it comes", discovering, func(t *testing.T, r *rig) {
			r.must(t, r.set(t, wire.TypeExtension, "f", "{name: f, typed_config: "+aFault+"}"))
		}, 0},
		{"timeout", discovering, func(*testing.T, *rig) { time.Sleep(16 * time.Second) }, 0},
		{"a bad one comes", discovering, func(t *testing.T, r *rig) {
			if err := r.set(t, wire.TypeExtension, "f", "{name: g, typed_config: "+aFault+"}"); err == nil || err.Error() != `f: name: is "g", the resource's is "f"` {
				t.Errorf("error %v", err)
			}
		}, 0},
		{"a default is waited with", strings.Replace(discovering, "type_urls", aDefault, 1), func(*testing.T, *rig) { time.Sleep(16 * time.Second) }, 0},
		{
			"a default without warming",
			strings.Replace(discovering, "type_urls", "apply_default_config_without_warming: true, "+aDefault, 1), func(*testing.T, *rig) {}, 1,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := discoveryRig(t)
				r.must(t, r.set(t, wire.TypeListener, "l", tc.listener))
				if got := r.liveNow(); len(got) != tc.before {
					t.Fatalf("live before: %v", got)
				}
				tc.after(t, r)
				if got := r.liveNow(); len(got) != 1 {
					t.Errorf("not live after")
				}
				if s := strings.Join(r.subs, " "); s != "+TypedExtensionConfig f" {
					t.Errorf("subscriptions: %s", s)
				}
			})
		})
	}
}

func TestRefusedDiscovery(t *testing.T) {
	for change, want := range map[string]string{
		"apply_default_config_without_warming: true, type_urls":                                                    "apply_default_config_without_warming: there is no default_config",
		`default_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}, type_urls`: "default_config: has the type type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
	} {
		synctest.Test(t, func(t *testing.T) {
			err := discoveryRig(t).set(t, wire.TypeListener, "l", strings.Replace(discovering, "type_urls", change, 1))
			if err == nil || !strings.Contains(err.Error(), "http_filters[0].config_discovery."+want) {
				t.Errorf("%s: %v", change, err)
			}
		})
	}
}
