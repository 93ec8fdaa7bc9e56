package config

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/wire"
)

// RemoteSecret is a secret that an SDS server has which is a cluster of the proxy's.
type RemoteSecret struct{ Cluster, Authority, Name string }

const remotePrefix = "sds://"

// String is what the store calls it.
func (r RemoteSecret) String() string {
	return remotePrefix + strings.Join([]string{r.Cluster, r.Authority, r.Name}, "\n")
}

// ParseRemoteSecret is the inverse of String; not ok: it is the name of another secret.
func ParseRemoteSecret(name string) (r RemoteSecret, ok bool) {
	rest, ok := strings.CutPrefix(name, remotePrefix)
	parts := strings.SplitN(rest, "\n", 3)
	if !ok || len(parts) != 3 {
		return r, false
	}
	return RemoteSecret{parts[0], parts[1], parts[2]}, true
}

// sdsCluster is the cluster of the one gRPC service of a source, "" if there is none.
func sdsCluster(m *corev3.ApiConfigSource) string {
	if len(m.GetGrpcServices()) != 1 {
		return ""
	}
	return m.GrpcServices[0].GetEnvoyGrpc().GetClusterName()
}

// SetRemote rotates in what an SDS server has answered for a secret. An error says what of
// it cannot be used; what was there stays.
func (s *Store) SetRemote(name string, m *tlsv3.Secret) error {
	a, err := anypb.New(m)
	if err == nil {
		err = open(a, &tlsv3.Secret{}) // only what is supported
	}
	if err == nil {
		err = setSecret(s.opt.Secrets, name, m)
	}
	if err != nil {
		return err
	}
	shown := withoutKey(m)
	shown.Name = name
	s.mu.Lock()
	s.arrived(waitKey{wire.TypeSecret, name})
	s.mu.Unlock()
	s.LocalChanged(shown)
	return nil
}
