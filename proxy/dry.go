package proxy

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/proxy/http/client"
	"github.com/weftmesh/weft/proxy/http/quota"
	"github.com/weftmesh/weft/proxy/telemetry"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Dry decodes what a proxy would be sent, with all filters that there are, and opens
// nothing: no sockets, no logs, no calls. It is for those who ask what would happen.
// An error names what the proxy would refuse.
func Dry(ctx context.Context, all []xds.Update) (*config.Dry, error) {
	r := &runtime{
		life:     ctx,
		boot:     &config.Bootstrap{ADS: &xds.Target{}}, // nobody is asked; that one could be, decides what is taken
		observe:  &observe{metrics: telemetry.New(telemetry.Local(wire.NodeMetadata{}), telemetry.NewDirectory(func(string) {}))},
		clusters: cluster.NewManager(ctx, cluster.Options{}),
		quotas:   quota.NewAgent("", slog.New(slog.DiscardHandler)),
	}
	d := &config.Decoder{
		Life:      ctx,
		HTTPKinds: r.httpKinds(), NetworkKinds: r.networkKinds(), Protocols: protocols(nil), Secrets: transport.NewSecretStore(), Clusters: r.clusters,
		Calls: client.New(r.clusters), Greeter: r.greeters(), HTTPStats: http.NewStats(), Logger: slog.New(slog.DiscardHandler),
		AccessLog: func(config.AccessLog) (config.AccessLogger, error) { return nil, nil },
		Tracer:    func(config.Tracing) (http.Tracer, error) { return nil, nil },
	}
	dry, rejected := d.Dry(all)
	if len(rejected) > 0 {
		return nil, fmt.Errorf("the proxy would refuse %s: %w", rejected[0].Name, rejected[0].Err)
	}
	return dry, nil
}
