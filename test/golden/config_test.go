package golden

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/codec/dubbo"
	"github.com/weftmesh/weft/proxy/codec/thrift"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/http/buffer"
	"github.com/weftmesh/weft/proxy/http/client"
	"github.com/weftmesh/weft/proxy/http/connlimit"
	"github.com/weftmesh/weft/proxy/http/convert"
	"github.com/weftmesh/weft/proxy/http/cors"
	"github.com/weftmesh/weft/proxy/http/extauthz"
	"github.com/weftmesh/weft/proxy/http/fault"
	"github.com/weftmesh/weft/proxy/http/filterstate"
	"github.com/weftmesh/weft/proxy/http/forward"
	"github.com/weftmesh/weft/proxy/http/grpcweb"
	"github.com/weftmesh/weft/proxy/http/jwt"
	"github.com/weftmesh/weft/proxy/http/localrate"
	"github.com/weftmesh/weft/proxy/http/ondemand"
	"github.com/weftmesh/weft/proxy/http/quota"
	"github.com/weftmesh/weft/proxy/http/ratelimit"
	"github.com/weftmesh/weft/proxy/http/rbac"
	"github.com/weftmesh/weft/proxy/http/transcode"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

// TestGoAccepts gives what a proxy with engine "go" gets to the data plane's
// strict decoder. Only of Istio's statistics any configuration is taken here.
func TestGoAccepts(t *testing.T) {
	for _, name := range archives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			in := read(t, name)
			if in.spec.Proxyless != nil {
				t.Skip("it is for gRPC; test/peers/grpcproxyless runs that")
			}
			resources, _ := in.translate(t, "go")
			accept(t, resources)
		})
	}
}

func accept(t *testing.T, resources *translate.Resources) {
	t.Helper()
	for _, r := range refusals(t, resources) {
		t.Errorf("%s: %v", r.Name, r.Err)
	}
}

// refusals are what the data plane does not take.
func refusals(t *testing.T, resources *translate.Resources) (out []xds.Rejection) {
	t.Helper()
	store := config.NewStore(config.Options{
		Decoder: decoder(t), Clusters: noClusters{}, Secrets: transport.NewSecretStore(), NeedIdentity: func() {},
	})
	for _, url := range []string{wire.TypeCluster, wire.TypeEndpoint, wire.TypeListener, wire.TypeRoute, wire.TypeSecret} {
		out = append(out, store.Apply(xds.Update{Type: url, Set: received(resources, url)})...)
	}
	return out
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
	clusters := cluster.NewManager(t.Context(), cluster.Options{})
	d := &config.Decoder{
		Clusters: clusters, Calls: client.New(clusters),
		HTTPKinds: []filter.HTTPKind{
			cors.Kind(), fault.Kind(), filterstate.Kind(format.Options{}), jwt.Kind(), rbac.HTTPKind(), extauthz.HTTPKind(),
			ondemand.Kind(nil, true), localrate.HTTPKind(), buffer.Kind(), grpcweb.Kind(), forward.HTTPKind(anyCache), transcode.Kind(),
			quota.Kind(quota.NewAgent("", slog.New(slog.DiscardHandler))), ratelimit.HTTPKind(),
			convert.Kind(wire.MessageConversion, prefix+"weft.wire.v1.MessageConversion", conversion, []*codec.Protocol{&dubbo.Protocol, &thrift.Protocol}),
		},
		NetworkKinds: []filter.NetworkKind{rbac.NetworkKind(), extauthz.NetworkKind(), filterstate.NetworkKind(format.Options{}), connlimit.Kind(),
			forward.NetworkKind(anyCache)},
		Protocols: []*codec.Protocol{&dubbo.Protocol, &thrift.Protocol},
		Mark:      wire.ProxyMark, Secrets: transport.NewSecretStore(),
		AccessLog: func(config.AccessLog) (config.AccessLogger, error) { return nil, nil },
		Tracer:    func(config.Tracing) (http.Tracer, error) { return nil, nil },
		HTTPStats: http.NewStats(),
	}
	const stats = "stats.PluginConfig"
	for name, url := range map[string]string{stats: stats, wire.MessageConversion: "weft.wire.v1.MessageConversion"} {
		d.HTTPKinds = append(d.HTTPKinds, filter.HTTPKind{
			Name: name, TypeURLs: []string{prefix + url},
			Parse:      func(*filter.ParseContext, *anypb.Any) (filter.HTTPFactory, error) { return noHTTP{}, nil },
			ParseRoute: func(*filter.ParseContext, *anypb.Any) (any, error) { return struct{}{}, nil },
		})
	}
	d.NetworkKinds = append(d.NetworkKinds, filter.NetworkKind{
		Name: stats, TypeURLs: []string{prefix + stats},
		Parse: func(*filter.ParseContext, *anypb.Any) (filter.NetworkFactory, error) { return nil, nil },
	})
	return d
}

// conversion reads what is made of requests of HTTP, as the proxy does.
func conversion(a *anypb.Any) (protocol string, declared []byte, err error) {
	m := &weftpb.MessageConversion{}
	if err = a.UnmarshalTo(m); err == nil && m.Declared != nil {
		declared, err = m.Declared.MarshalJSON()
	}
	return m.Protocol, declared, err
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

// anyCache takes DNS caches as they come; cluster.Manager compares those of one name.
func anyCache(*cluster.DNSCacheSpec) error { return nil }
