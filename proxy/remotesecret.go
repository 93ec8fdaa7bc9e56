package proxy

import (
	"context"
	"errors"
	"sync"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"

	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/proxy/sds"
)

// remotes are the secrets that are followed at SDS servers in the mesh, or outside.
type remotes struct {
	mu   sync.Mutex
	ends map[string]context.CancelFunc
}

// follow begins or ends with one. It does not wait.
func (x *remotes) follow(r *runtime, name string, s config.RemoteSecret, wanted bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !wanted {
		if end := x.ends[name]; end != nil {
			end()
			delete(x.ends, name)
		}
		return
	}
	if x.ends == nil {
		x.ends = map[string]context.CancelFunc{}
	}
	ctx, end := context.WithCancel(r.life)
	x.ends[name] = end
	r.run(func(life context.Context) error {
		err := r.followSecret(ctx, name, s)
		if life.Err() == nil && errors.Is(err, context.Canceled) {
			return nil // it is not wanted any more; the proxy goes on
		}
		return err
	})
}

func (r *runtime) followSecret(ctx context.Context, name string, s config.RemoteSecret) error {
	conn, err := r.collector(config.Collector{Cluster: s.Cluster, Authority: s.Authority})
	if err != nil {
		return err
	}
	defer conn.Close()
	f := sds.Follower{
		Name: s.Name, Node: r.boot.Node, Log: r.log.With("component", "secrets", "cluster", s.Cluster),
		Take: func(m *tlsv3.Secret) error { return r.store.SetRemote(name, m) },
	}
	return f.Run(ctx, secretv3.NewSecretDiscoveryServiceClient(conn))
}
