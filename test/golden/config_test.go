package golden

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/http/cors"
	"github.com/weftmesh/weft/proxy/http/fault"
	"github.com/weftmesh/weft/proxy/http/filterstate"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// TestGoAccepts gives what a proxy with engine "go" gets to the data plane's
// strict decoder. Filters' own configurations are their packages' business: here
// any of the kinds that the control plane names is taken.
func TestGoAccepts(t *testing.T) {
	for _, name := range archives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			in := read(t, name)
			resources, _ := in.translate(t, "go")
			accept(t, resources)
		})
	}
}

func accept(t *testing.T, resources *translate.Resources) {
	t.Helper()
	store := config.NewStore(config.Options{
		Decoder: decoder(t), Clusters: noClusters{}, Secrets: transport.NewSecretStore(), NeedIdentity: func() {},
	})
	for _, url := range []string{wire.TypeCluster, wire.TypeEndpoint, wire.TypeListener, wire.TypeRoute, wire.TypeSecret} {
		for _, r := range store.Apply(xds.Update{Type: url, Set: received(resources, url)}) {
			t.Errorf("%s %s: %v", url, r.Name, r.Err)
		}
	}
}

func received(r *translate.Resources, url string) []xds.Resource {
	var out []xds.Resource
	for _, x := range r.Of(url) {
		out = append(out, xds.Resource{Name: x.Name, Version: x.Version, Body: x.Body})
	}
	return out
}

func decoder(t *testing.T) *config.Decoder {
	t.Helper()
	const prefix = "type.googleapis.com/"
	d := &config.Decoder{
		Clusters:  cluster.NewManager(t.Context(), cluster.Options{}),
		HTTPKinds: []filter.HTTPKind{cors.Kind(), fault.Kind(), filterstate.Kind(format.Options{})},
		Mark:      wire.ProxyMark, Secrets: transport.NewSecretStore(),
		AccessLog: func(config.AccessLog) (config.AccessLogger, error) { return nil, nil },
		Tracer:    func(config.Tracing) (http.Tracer, error) { return nil, nil },
		HTTPStats: http.NewStats(),
	}
	for _, url := range []string{
		"envoy.extensions.filters.http.rbac.v3.RBAC", "stats.PluginConfig",
	} {
		d.HTTPKinds = append(d.HTTPKinds, filter.HTTPKind{
			Name: url, TypeURLs: []string{prefix + url},
			Parse:      func(*filter.ParseContext, *anypb.Any) (filter.HTTPFactory, error) { return noHTTP{}, nil },
			ParseRoute: func(*filter.ParseContext, *anypb.Any) (any, error) { return struct{}{}, nil },
		})
	}
	for _, url := range []string{"envoy.extensions.filters.network.rbac.v3.RBAC", "stats.PluginConfig"} {
		d.NetworkKinds = append(d.NetworkKinds, filter.NetworkKind{
			Name: url, TypeURLs: []string{prefix + url},
			Parse: func(*filter.ParseContext, *anypb.Any) (filter.NetworkFactory, error) { return nil, nil },
		})
	}
	return d
}

type noHTTP struct{}

func (noHTTP) New(filter.Stream) filter.HTTPFilter { return filter.PassThrough{} }

// noClusters takes everything and never gets ready: only decoding is looked at.
type noClusters struct{}

func (noClusters) Update([]*cluster.Spec, []string) error        { return nil }
func (noClusters) SetEndpoints(string, *cluster.Endpoints) error { return nil }
func (noClusters) ForgetEndpoints(string)                        {}
func (noClusters) Activity(string) (uint64, bool)                { return 0, false }

func (noClusters) WaitReady(context.Context, ...string) (miss []string) { return nil }
