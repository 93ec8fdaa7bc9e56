package istio

import (
	"encoding/json"
	"fmt"

	"github.com/weftmesh/weft/wire"
)

// Bootstrap is the configuration that the proxy starts with when none is given:
// who it is, that listeners and clusters come from istiod, and where its admin
// API is. delta chooses the variant of the protocol.
func (a *Agent) Bootstrap(delta bool) ([]byte, error) {
	api := "GRPC"
	if delta {
		api = "DELTA_GRPC"
	}
	fromADS := map[string]any{"ads": map[string]any{}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
	b, err := json.Marshal(map[string]any{
		"node": map[string]any{
			"id": a.Node.String(), "cluster": a.Service, "metadata": a.Metadata,
			"locality": map[string]any{"region": a.Locality.Region, "zone": a.Locality.Zone, "sub_zone": a.Locality.SubZone},
		},
		"admin": map[string]any{"address": socket("127.0.0.1", a.AdminPort)},
		"dynamic_resources": map[string]any{
			"lds_config": fromADS, "cds_config": fromADS,
			"ads_config": map[string]any{
				"api_type": api, "set_node_on_first_message_only": true, "transport_api_version": "V3",
				"grpc_services": []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": wire.XDSCluster}}},
			},
		},
		"static_resources": map[string]any{"clusters": []any{
			cluster(wire.XDSCluster, map[string]any{"pipe": map[string]any{"path": "etc/istio/proxy/XDS"}}),
			cluster(wire.SDSCluster, map[string]any{"pipe": map[string]any{"path": "var/run/secrets/workload-spiffe-uds/socket"}}),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("bootstrap of %s: %w", a.Node, err)
	}
	return b, nil
}

func socket(address string, port uint16) map[string]any {
	return map[string]any{"socket_address": map[string]any{"address": address, "port_value": port}}
}

// cluster is one of the control plane's, which the proxy reaches by itself.
func cluster(name string, address map[string]any) map[string]any {
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	return map[string]any{
		"name": name, "type": "STATIC", "connect_timeout": "1s",
		"load_assignment": map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{
			"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": address}}},
		}}},
		"typed_extension_protocol_options": map[string]any{options: map[string]any{
			"@type":                "type.googleapis.com/" + options,
			"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
		}},
	}
}
