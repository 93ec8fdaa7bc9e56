package match

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/client"
)

// SupportedServices lists the fields that GRPCService reads.
var SupportedServices = strict.Table{
	"envoy.config.core.v3.GrpcService":           "envoy_grpc timeout initial_metadata",
	"envoy.config.core.v3.GrpcService.EnvoyGrpc": "cluster_name authority skip_envoy_headers",
}

// GRPCService reads who a filter asks, and how long it waits: usual when nothing is said.
func GRPCService(ctx *filter.ParseContext, m *corev3.GrpcService, usual time.Duration) (*client.Service, error) {
	e := m.GetEnvoyGrpc()
	switch {
	case e.GetClusterName() == "":
		return nil, errors.New("envoy_grpc.cluster_name: is missing")
	case ctx.Calls == nil:
		return nil, errors.New("envoy_grpc: cannot be called here")
	}
	s := &client.Service{Caller: ctx.Calls, Cluster: e.ClusterName, Authority: e.Authority, Timeout: usual}
	if m.Timeout != nil {
		s.Timeout = m.Timeout.AsDuration()
	}
	for i, h := range m.InitialMetadata {
		if strings.Contains(h.Value, "%") {
			return nil, fmt.Errorf("initial_metadata[%d]: %q: commands are not supported", i, h.Value)
		}
		s.Metadata = append(s.Metadata, filter.Field{Name: strings.ToLower(h.Key), Value: Value(h)})
	}
	return s, nil
}
